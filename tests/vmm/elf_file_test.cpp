#include "vmm/elf_loader.hpp"

#include "elf_builder.hpp"
#include "fake_guest_memory.hpp"
#include "matchers.hpp"

#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

namespace slat::vmm {
namespace {

class LoadElfFile : public ::testing::Test {
 protected:
  LoadElfFile() {
    std::string name = ::testing::TempDir() + "slat-elf-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    folder_ = name;
  }

  ~LoadElfFile() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  std::filesystem::path write(const char* name, const Bytes& bytes) {
    const auto path = folder_ / name;
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    return path;
  }

  std::filesystem::path folder_;
  FakeGuestMemory memory_{8 * mib};
};

TEST_F(LoadElfFile, LoadsAFile) {
  const auto kernel = load_elf_file(memory_, write("kernel", valid_kernel().build()));
  ASSERT_TRUE(kernel) << kernel.error().message;
  EXPECT_EQ(kernel->entry, 0x100000U);
}

TEST_F(LoadElfFile, NamesAMissingFile) {
  EXPECT_THAT(load_elf_file(memory_, folder_ / "absent"), FailsWith(Errc::no_such_file, "absent'"));
  EXPECT_THAT(load_elf_file(memory_, folder_ / "absent"),
              FailsWith(Errc::no_such_file, "No such file"));
  EXPECT_THAT(load_elf_file(memory_, ""), FailsWith(Errc::no_such_file, "kernel ''"));
}

TEST_F(LoadElfFile, RefusesADirectory) {
  EXPECT_THAT(load_elf_file(memory_, folder_), FailsWith(Errc::no_such_file, "it is a directory"));
}

TEST_F(LoadElfFile, RefusesAPipeWithoutWaitingForIt) {
  const auto path = folder_ / "pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_THAT(load_elf_file(memory_, path), FailsWith(Errc::no_such_file, "not a regular file"));
}

TEST_F(LoadElfFile, RefusesAnUnreadableFile) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read every file";
  const auto path = write("secret", valid_kernel().build());
  ASSERT_EQ(::chmod(path.c_str(), 0), 0);
  EXPECT_THAT(load_elf_file(memory_, path), FailsWith(Errc::no_permission, "make it readable"));
}

TEST_F(LoadElfFile, RefusesAnEmptyFile) {
  EXPECT_THAT(load_elf_file(memory_, write("empty", {})),
              FailsWith(Errc::bad_image, "the file is empty"));
}

TEST_F(LoadElfFile, RefusesAHugeFileWithoutReadingIt) {
  const auto path = write("huge", {});
  ASSERT_EQ(::truncate(path.c_str(), static_cast<off_t>(max_kernel_file_size + 1)), 0);
  EXPECT_THAT(load_elf_file(memory_, path), FailsWith(Errc::bad_image, "4294967297 bytes"));
}

TEST_F(LoadElfFile, RefusesABadImageAndWritesNothing) {
  EXPECT_THAT(load_elf_file(memory_, write("text", text_bytes("hello"))),
              FailsWith(Errc::bad_image, "text'"));
  EXPECT_TRUE(memory_.writes().empty());
}

} // namespace
} // namespace slat::vmm
