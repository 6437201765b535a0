#include "vmm/image_file.hpp"

#include "elf_builder.hpp"
#include "fake_guest_memory.hpp"
#include "matchers.hpp"
#include "vmm/elf_loader.hpp"

#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

namespace slat::vmm {
namespace {

class ImageFileTest : public ::testing::Test {
 protected:
  ImageFileTest() {
    std::string name = ::testing::TempDir() + "slat-image-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    folder_ = name;
  }

  ~ImageFileTest() override {
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

  /// As the machine loads a kernel.
  Result<LoadedKernel> load(const std::filesystem::path& path) {
    auto file = read_image_file(path, "kernel");
    if (!file) return forward(file);
    return load_elf(memory_, file->bytes(), path.native());
  }

  std::filesystem::path folder_;
  FakeGuestMemory memory_{8 * mib};
};

TEST_F(ImageFileTest, LoadsAFile) {
  const auto kernel = load(write("kernel", valid_kernel().build()));
  ASSERT_TRUE(kernel) << kernel.error().message;
  EXPECT_EQ(kernel->entry, 0x100000U);
}

TEST_F(ImageFileTest, NamesAMissingFile) {
  EXPECT_THAT(load(folder_ / "absent"), FailsWith(Errc::no_such_file, "absent'"));
  EXPECT_THAT(load(folder_ / "absent"), FailsWith(Errc::no_such_file, "No such file"));
  EXPECT_THAT(load(""), FailsWith(Errc::no_such_file, "kernel ''"));
}

TEST_F(ImageFileTest, RefusesADirectory) {
  EXPECT_THAT(load(folder_), FailsWith(Errc::no_such_file, "it is a directory"));
}

TEST_F(ImageFileTest, RefusesAPipeWithoutWaitingForIt) {
  const auto path = folder_ / "pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_THAT(load(path), FailsWith(Errc::no_such_file, "not a regular file"));
}

TEST_F(ImageFileTest, RefusesAnUnreadableFile) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read every file";
  const auto path = write("secret", valid_kernel().build());
  ASSERT_EQ(::chmod(path.c_str(), 0), 0);
  EXPECT_THAT(load(path), FailsWith(Errc::no_permission, "make it readable"));
}

TEST_F(ImageFileTest, RefusesAnEmptyFile) {
  EXPECT_THAT(load(write("empty", {})), FailsWith(Errc::bad_image, "the file is empty"));
}

TEST_F(ImageFileTest, RefusesAHugeFileWithoutReadingIt) {
  const auto path = write("huge", {});
  ASSERT_EQ(::truncate(path.c_str(), static_cast<off_t>(max_image_file_size + 1)), 0);
  EXPECT_THAT(load(path), FailsWith(Errc::bad_image, "4294967297 bytes"));
}

TEST_F(ImageFileTest, RefusesABadImageAndWritesNothing) {
  EXPECT_THAT(load(write("text", text_bytes("hello"))), FailsWith(Errc::bad_image, "text'"));
  EXPECT_TRUE(memory_.writes().empty());
}

} // namespace
} // namespace slat::vmm
