#include "vmm/elf_loader.hpp"

#include "elf_builder.hpp"
#include "fake_guest_memory.hpp"
#include "matchers.hpp"

#include <functional>
#include <gtest/gtest.h>

namespace slat::vmm {
namespace {

constexpr std::uint64_t ram_size = 8 * mib;

/// Expects the image to be refused as bad, in one line that names the file and `text`, with nothing
/// written.
void expect_refused(const Bytes& image, const std::string& text,
                    std::vector<GpaRange> ram = ram_layout(ram_size)) {
  FakeGuestMemory memory(std::move(ram));
  const auto loaded = load_elf(memory, image, "bad.elf");
  EXPECT_THAT(loaded, FailsWith(Errc::bad_image, text));
  EXPECT_THAT(loaded, FailsWith(Errc::bad_image, "kernel 'bad.elf': "));
  EXPECT_TRUE(memory.writes().empty()) << "a refused image was written";
}

void expect_refused(const ElfBuilder& elf, const std::string& text) {
  expect_refused(elf.build(), text);
}

Bytes with_header(const std::function<void(Elf64_Ehdr&)>& change) {
  auto elf = valid_kernel();
  elf.count_programs = false;
  elf.header.e_phnum = static_cast<std::uint16_t>(elf.programs.size());
  change(elf.header);
  return elf.build();
}

Bytes with_segment(const std::function<void(Elf64_Phdr&)>& change) {
  auto elf = valid_kernel();
  change(elf.programs[1]);
  return elf.build();
}

TEST(LoadElf, LoadsSegmentsAndZeroesTheRest) {
  FakeGuestMemory memory(ram_size);
  const auto kernel = load_elf(memory, valid_kernel().build(), "good.elf");
  ASSERT_TRUE(kernel) << kernel.error().message;
  EXPECT_EQ(kernel->entry, 0x100000U);
  EXPECT_EQ(kernel->image_start, 0x100000U);
  EXPECT_EQ(kernel->image_end, 0x105000U);
  EXPECT_TRUE(kernel->notes.all_vcpus_start);
  EXPECT_EQ(kernel->notes.mailbox, 0x104000U);
  for (Gpa i = 0; i < 0x1000; ++i)
    ASSERT_EQ(memory.get<std::byte>(0x100000 + i),
              i < 16 ? std::byte{0x90} : FakeGuestMemory::untouched)
        << i;
  for (Gpa i = 0; i < 0x3000; ++i)
    ASSERT_EQ(memory.get<std::byte>(0x102000 + i), i < 100 ? std::byte{0xaa} : std::byte{0}) << i;
  EXPECT_EQ(memory.get<std::byte>(0x105000), FakeGuestMemory::untouched);
}

TEST(LoadElf, LoadsAtPhysicalAddressesAsVmlinuxWantsIt) {
  ElfBuilder elf;
  elf.header.e_entry = 0x200010;
  elf.add_code(0x200000, Bytes(64, std::byte{0x90})).p_vaddr = 0xffffffff81000000;
  elf.add(PT_LOAD, PF_R | PF_W, 0x300000, Bytes(32, std::byte{1}), 32).p_vaddr =
      0;                                      // the per-CPU segment
  elf.add(PT_LOAD, PF_R, 0, {}, 0);           // and an empty one
  elf.add(0x6474e551, PF_R | PF_W, 0, {}, 0); // GNU_STACK
  Bytes notes = make_note("Xen", 6, text_bytes("linux"));
  append_padded(notes, make_note("Xen", 18, bytes_of(std::uint32_t{0x200000})), 4); // PVH entry
  append_padded(notes, make_note("GNU", 3, Bytes(20)), 4);
  elf.add_notes(notes);
  FakeGuestMemory memory(ram_size);
  const auto kernel = load_elf(memory, elf.build(), "vmlinux");
  ASSERT_TRUE(kernel) << kernel.error().message;
  EXPECT_EQ(kernel->entry, 0x200010U);
  EXPECT_EQ(kernel->image_end, 0x300020U);
  EXPECT_FALSE(kernel->notes.all_vcpus_start);
  EXPECT_FALSE(kernel->notes.mailbox);
  EXPECT_EQ(memory.get<std::byte>(0x30001f), std::byte{1});
}

TEST(LoadElf, LoadsAboveFourGiBWhereThereIsRam) {
  ElfBuilder elf;
  elf.header.e_entry = 4 * gib;
  elf.add_code(4 * gib);
  FakeGuestMemory memory(4 * gib);
  EXPECT_TRUE(load_elf(memory, elf.build(), "high.elf"));
}

TEST(LoadElf, ZeroesLargeTailsWhole) {
  ElfBuilder elf;
  elf.add_code().p_memsz = 300 * kib + 1;
  FakeGuestMemory memory(ram_size);
  ASSERT_TRUE(load_elf(memory, elf.build(), "bss.elf"));
  EXPECT_EQ(memory.get<std::byte>(0x100000 + 300 * kib), std::byte{0});
  EXPECT_EQ(memory.get<std::byte>(0x100000 + 300 * kib + 1), FakeGuestMemory::untouched);
}

TEST(LoadElf, PassesOnTheErrorOfTheMemory) {
  FakeGuestMemory memory(ram_size);
  memory.fail_writes();
  EXPECT_THAT(load_elf(memory, valid_kernel().build(), "good.elf"),
              FailsWith(Errc::host_failed, "fake memory"));
}

TEST(LoadElf, EveryTruncationOfAValidFileIsRefusedAndWritesNothing) {
  const auto whole = valid_kernel().build();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    SCOPED_TRACE(size);
    // An exact allocation of its own, so that a sanitizer sees a read past the end.
    const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    expect_refused(cut, size == 0   ? "empty"
                        : size < 64 ? "inside its 64-byte ELF header"
                                    : "past the end of the file");
  }
}

TEST(LoadElf, RefusesAnEmptyFile) {
  expect_refused(Bytes{}, "the file is empty");
}

TEST(LoadElf, TellsWhatAForeignFileSeemsToBe) {
  Bytes image(0x1000);
  std::memcpy(image.data(), "MZ", 2);
  expect_refused(image, "DOS or EFI program");
}

TEST(LoadElf, NamesWhatANonElfFileSeemsToBe) {
  using namespace std::string_view_literals;
  expect_refused(text_bytes("\x1f\x8b\x08"sv), "gzip");
  expect_refused(text_bytes("\xfd"
                            "7zXZ\0"sv),
                 "xz");
  expect_refused(text_bytes("\x28\xb5\x2f\xfd"sv), "zstd");
  expect_refused(text_bytes("\x02\x21\x4c\x18"sv), "lz4");
  expect_refused(text_bytes("BZh9"sv), "bzip2");
  expect_refused(text_bytes("070701"sv), "cpio");
  expect_refused(text_bytes("!<arch>\n"sv), "archive of object files");
  expect_refused(text_bytes("#!/bin/sh\n"sv), "script");
  expect_refused(text_bytes("MZ"sv), "EFI");
  expect_refused(text_bytes("hello, this is plain text"sv),
                 "does not begin with the ELF signature");
}

TEST(LoadElf, RefusesAnotherClass) {
  expect_refused(with_header([](auto& h) { h.e_ident[EI_CLASS] = ELFCLASS32; }), "64-bit");
}

TEST(LoadElf, RefusesAnotherByteOrder) {
  expect_refused(with_header([](auto& h) { h.e_ident[EI_DATA] = ELFDATA2MSB; }), "little-endian");
}

TEST(LoadElf, RefusesAnotherMachineAndNamesIt) {
  expect_refused(with_header([](auto& h) { h.e_machine = EM_AARCH64; }), "machine 183");
}

TEST(LoadElf, RefusesAnotherVersion) {
  expect_refused(with_header([](auto& h) { h.e_ident[EI_VERSION] = 2; }), "version");
  expect_refused(with_header([](auto& h) { h.e_version = 0; }), "version");
}

TEST(LoadElf, RefusesOtherTypesWithTheMend) {
  expect_refused(with_header([](auto& h) { h.e_type = ET_DYN; }), "link it with -static -no-pie");
  expect_refused(with_header([](auto& h) { h.e_type = ET_REL; }), "object file");
  expect_refused(with_header([](auto& h) { h.e_type = ET_CORE; }), "core dump");
  expect_refused(with_header([](auto& h) { h.e_type = 0x1234; }), "type 4660");
}

TEST(LoadElf, RefusesAnInterpreter) {
  auto elf = valid_kernel();
  elf.add(PT_INTERP, PF_R, 0, text_bytes("/lib64/ld.so"), 12);
  expect_refused(elf, "interpreter");
}

TEST(LoadElf, RefusesBadProgramHeaderTables) {
  expect_refused(with_header([](auto& h) { h.e_phnum = 0; }), "no program headers");
  expect_refused(with_header([](auto& h) { h.e_phentsize = 32; }), "32 bytes instead of 56");
  expect_refused(with_header([](auto& h) { h.e_phentsize = 0; }), "0 bytes instead of 56");
  expect_refused(with_header([](auto& h) { h.e_phnum = 129; }),
                 "129 program headers and at most 128");
  expect_refused(with_header([](auto& h) { h.e_phnum = PN_XNUM; }), "65535 or more");
  expect_refused(with_header([](auto& h) { h.e_phoff = 1 << 20; }), "past the end of the file");
  expect_refused(with_header([](auto& h) { h.e_phoff = UINT64_MAX; }), "past the end of the file");
  expect_refused(with_header([](auto& h) { h.e_phoff = UINT64_MAX - 100; }),
                 "past the end of the file");
}

TEST(LoadElf, RefusesAFileWithNothingToLoad) {
  ElfBuilder elf;
  elf.add_notes(make_note("GNU", 3, Bytes(20)));
  expect_refused(elf, "no segment to load");
  elf.add(PT_LOAD, PF_R | PF_X, 0x100000, {}, 0);
  expect_refused(elf, "no segment to load");
}

TEST(LoadElf, RefusesSegmentsOutsideTheFile) {
  expect_refused(with_segment([](auto& p) { p.p_offset = 1 << 20; }), "segment 1");
  expect_refused(with_segment([](auto& p) { p.p_offset = UINT64_MAX - 1000; }),
                 "past the end of the file");
  expect_refused(with_segment([](auto& p) { p.p_filesz = UINT64_MAX; }),
                 "past the end of the file");
  auto elf = valid_kernel();
  elf.programs[2].p_filesz = UINT64_MAX;
  expect_refused(elf, "segment 2");
}

TEST(LoadElf, RefusesMoreInTheFileThanInMemory) {
  expect_refused(with_segment([](auto& p) { p.p_memsz = 99; }),
                 "0x64 bytes in the file and room for 0x63");
  expect_refused(with_segment([](auto& p) { p.p_memsz = 0; }), "room for 0x0");
}

TEST(LoadElf, RefusesSegmentsOutsideRam) {
  expect_refused(with_segment([](auto& p) { p.p_paddr = 8 * mib; }),
                 "segment 1 (0x3000 bytes at 0x800000)");
  expect_refused(with_segment([](auto& p) { p.p_paddr = 8 * mib - 0x2fff; }),
                 "does not lie in guest RAM");
  expect_refused(with_segment([](auto& p) { p.p_memsz = 64 * gib; }), "more memory");
  expect_refused(with_segment([](auto& p) { p.p_paddr = 0xffffffff81000000; }),
                 "does not lie in guest RAM");
  // Half in RAM, half in the device hole.
  expect_refused(with_segment([](auto& p) { p.p_paddr = 3 * gib - 0x1000; }),
                 "does not lie in guest RAM", ram_layout(5 * gib));
}

TEST(LoadElf, RefusesSegmentsThatWrapAround) {
  expect_refused(with_segment([](auto& p) { p.p_paddr = UINT64_MAX - 0x1000; }), "wraps around");
  expect_refused(with_segment([](auto& p) { p.p_memsz = UINT64_MAX; }), "wraps around");
}

TEST(LoadElf, RefusesSegmentsOverTheBootStructures) {
  expect_refused(with_segment([](auto& p) { p.p_paddr = 0x7000; }), "below 1 MiB");
  expect_refused(with_segment([](auto& p) { p.p_paddr = 0; }), "below 1 MiB");
  expect_refused(with_segment([](auto& p) { p.p_paddr = 0xfffff; }), "below 1 MiB");
}

TEST(LoadElf, RefusesOverlappingSegmentsInAnyOrder) {
  expect_refused(with_segment([](auto& p) { p.p_paddr = 0x10000f; }),
                 "segments 0 and 1 overlap at 0x10000f");
  auto elf = valid_kernel();
  std::swap(elf.programs[0], elf.programs[1]);
  elf.programs[0].p_paddr = 0x100008;
  expect_refused(elf, "segments 1 and 0 overlap");
  // One inside another.
  elf = valid_kernel();
  elf.add(PT_LOAD, PF_R, 0x103000, {}, 1);
  expect_refused(elf, "overlap at 0x103000");
  // Touching is no overlap.
  FakeGuestMemory memory(ram_size);
  EXPECT_TRUE(
      load_elf(memory, with_segment([](auto& p) { p.p_paddr = 0x100010; }), "touching.elf"));
}

TEST(LoadElf, RefusesAnEntryOutsideExecutableContent) {
  const auto entry_at = [](std::uint64_t entry) {
    return with_header([entry](auto& h) { h.e_entry = entry; });
  };
  expect_refused(entry_at(0), "entry 0x0");
  expect_refused(entry_at(0xfffff), "entry 0xfffff");
  expect_refused(entry_at(0x100010), "entry 0x100010");
  expect_refused(entry_at(0x102000), "no executable segment");
  expect_refused(entry_at(0xffffffff81000000), "must be a physical address");
  ElfBuilder elf;
  elf.add_code().p_memsz = 0x1000;
  elf.header.e_entry = 0x100800; // in the zeroed tail
  expect_refused(elf, "no executable segment");
}

TEST(LoadElf, AWrongNoteRefusesTheImage) {
  auto elf = valid_kernel();
  elf.add_notes(make_note("slat", 99, Bytes(4)));
  expect_refused(elf, "type 99");
}

TEST(LoadElf, KeepsTheMessageOneLineWhateverTheName) {
  FakeGuestMemory memory(ram_size);
  EXPECT_THAT(load_elf(memory, {}, "a\nb\x1b[31m"),
              FailsWith(Errc::bad_image, "kernel 'a?b?[31m'"));
  EXPECT_LT(load_elf(memory, {}, std::string(100000, 'x')).error().message.size(), 400U);
}

} // namespace
} // namespace slat::vmm
