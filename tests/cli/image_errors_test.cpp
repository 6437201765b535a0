// Kernels that are none: each is refused with one line that names the file and says what is wrong with it.
#include "elf_builder.hpp"
#include "slat.hpp"

#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>

namespace slat::test {
namespace {

using vmm::Bytes;
using vmm::ElfBuilder;

class BadImage : public testing::Test {
 protected:
  void SetUp() override { SLAT_NEEDS_GUEST(); }

  static Ended boot(const std::string& file) {
    return run_slat({"boot", "--kernel", file, "--memory", "size=16M"});
  }

  [[nodiscard]] Ended boot_content(std::string_view content) const {
    return boot(directory_.write("kernel", content));
  }

  [[nodiscard]] Ended boot_bytes(const Bytes& bytes) const {
    return boot_content({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }

  TemporaryDirectory directory_;
};

TEST_F(BadImage, MissingFile) {
  EXPECT_THAT(boot("/nonexistent/kernel"),
              refused(66, {"/nonexistent/kernel", "No such file", "check the path"}));
}

TEST_F(BadImage, Directory) {
  EXPECT_THAT(boot(directory_.path()), refused(66, {directory_.path(), "a directory"}));
}

TEST_F(BadImage, DeviceThatNeverEnds) {
  EXPECT_THAT(boot("/dev/zero"), refused(66, {"/dev/zero", "not a regular file"}));
}

TEST_F(BadImage, FifoThatNobodyWrites) {
  const std::string fifo = directory_.path() / "fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_THAT(boot(fifo), refused(66, {fifo, "not a regular file"}));
}

TEST_F(BadImage, EmptyFile) {
  EXPECT_THAT(boot_content(""), refused(65, {"kernel", "empty"}));
}

TEST_F(BadImage, Text) {
  EXPECT_THAT(
      boot_content("#!/bin/sh\necho this is not a kernel, but it is longer than a header\n"),
      refused(65, {"kernel", "script"}));
}

TEST_F(BadImage, BzImageWithoutA64BitEntry) {
  Bytes image(0x1000);
  const Bytes magic = vmm::text_bytes("HdrS");
  std::copy(magic.begin(), magic.end(), image.begin() + 0x202);
  image[0x1fe] = std::byte{0x55};
  image[0x1ff] = std::byte{0xaa};
  EXPECT_THAT(boot_bytes(image), refused(65, {"boot protocol", "64-bit"}));
}

TEST_F(BadImage, OtherMachine) {
  ElfBuilder elf = vmm::valid_kernel();
  elf.header.e_machine = EM_AARCH64;
  EXPECT_THAT(boot_bytes(elf.build()), refused(65, {"kernel", "x86-64"}));
}

TEST_F(BadImage, ThirtyTwoBits) {
  ElfBuilder elf = vmm::valid_kernel();
  elf.header.e_ident[EI_CLASS] = ELFCLASS32;
  EXPECT_THAT(boot_bytes(elf.build()), refused(65, {"kernel", "not a 64-bit ELF"}));
}

TEST_F(BadImage, TruncatedAnywhere) {
  const Bytes whole = vmm::valid_kernel().build();
  for (const std::size_t size :
       {std::size_t{1}, std::size_t{4}, std::size_t{63}, std::size_t{100}, whole.size() - 1})
    EXPECT_THAT(boot_bytes(Bytes(whole.begin(), whole.begin() + std::ptrdiff_t(size))),
                refused(65, {"kernel"}))
        << size << " bytes of " << whole.size();
}

TEST_F(BadImage, TruncatedHello) {
  std::ifstream file(hello_image(), std::ios::binary);
  const std::string whole{std::istreambuf_iterator<char>(file), {}};
  ASSERT_GT(whole.size(), 1000u);
  EXPECT_THAT(boot_content(whole.substr(0, whole.size() / 2)), refused(65, {"kernel"}));
}

TEST_F(BadImage, SegmentOutsideOfRam) {
  ElfBuilder elf = vmm::valid_kernel();
  elf.programs[1].p_paddr = 0x40000000;
  EXPECT_THAT(boot_bytes(elf.build()), refused(65, {"kernel", "0x40000000", "more memory"}));
}

TEST_F(BadImage, SegmentThatWraps) {
  ElfBuilder elf = vmm::valid_kernel();
  elf.programs[1].p_paddr = 0xfffffffffffff000;
  EXPECT_THAT(boot_bytes(elf.build()), refused(65, {"kernel"}));
}

TEST_F(BadImage, SegmentOfExabytes) {
  ElfBuilder elf = vmm::valid_kernel();
  elf.programs[1].p_memsz = std::uint64_t{1} << 62;
  EXPECT_THAT(boot_bytes(elf.build()), refused(65, {"kernel"}));
}

TEST_F(BadImage, SegmentWithMoreBytesThanTheFile) {
  ElfBuilder elf = vmm::valid_kernel();
  elf.programs[1].p_filesz = elf.programs[1].p_memsz = std::uint64_t{1} << 40;
  EXPECT_THAT(boot_bytes(elf.build()), refused(65, {"kernel"}));
}

TEST_F(BadImage, OverlappingSegments) {
  ElfBuilder elf = vmm::valid_kernel();
  elf.programs[1].p_paddr = ElfBuilder::load_address;
  EXPECT_THAT(boot_bytes(elf.build()), refused(65, {"kernel", "overlap"}));
}

TEST_F(BadImage, SegmentOverTheBootTables) {
  ElfBuilder elf = vmm::valid_kernel();
  elf.programs[1].p_paddr = 0;
  EXPECT_THAT(boot_bytes(elf.build()), refused(65, {"kernel"}));
}

TEST_F(BadImage, EntryOutsideOfEverySegment) {
  ElfBuilder elf = vmm::valid_kernel();
  elf.header.e_entry = 0x900000;
  EXPECT_THAT(boot_bytes(elf.build()), refused(65, {"kernel", "entry"}));
}

TEST_F(BadImage, NameWithControlCharacters) {
  const Ended ended = boot(directory_.write("kernel\x1b[2J\nslat: fine", "no"));
  EXPECT_THAT(ended, refused(65, {"kernel"}));
  EXPECT_EQ(ended.err.find('\x1b'), std::string::npos) << "an escape sequence goes through";
}

} // namespace
} // namespace slat::test
