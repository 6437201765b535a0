#include "vmm/linux_image.hpp"

#include "fake_guest_memory.hpp"
#include "matchers.hpp"

#include <asm/bootparam.h>
#include <cstring>
#include <gtest/gtest.h>
#include <vector>

namespace slat::vmm {
namespace {

constexpr std::size_t header_at = 0x1f1;

/// A kernel of two setup sectors and 4 KiB behind them.
class LinuxImageTest : public ::testing::Test {
 protected:
  LinuxImageTest() : image_(3 * 512 + 0x1000, std::byte{0}) {
    header_.setup_sects = 2;
    header_.syssize = 0x1000 / 16;
    header_.boot_flag = 0xaa55;
    header_.header = 0x53726448;
    header_.version = 0x020f;
    header_.xloadflags = XLF_KERNEL_64;
    header_.relocatable_kernel = 1;
    header_.kernel_alignment = 2 * mib;
    header_.pref_address = 16 * mib;
    header_.init_size = 4 * mib;
    header_.cmdline_size = 2047;
    header_.initrd_addr_max = 0x7fffffff;
    for (std::size_t i = 3 * 512; i < image_.size(); ++i) image_[i] = std::byte(i % 251);
  }

  Result<LinuxImage> load(std::uint64_t ram = 64 * mib) {
    memory_ = FakeGuestMemory(ram);
    std::memcpy(image_.data() + header_at, &header_, sizeof header_);
    image_[0x201] = std::byte(header_at + sizeof header_ - 0x202); // how far the header goes
    return load_bzimage(memory_, image_, "vmlinuz");
  }

  std::vector<std::byte> image_;
  setup_header header_{};
  FakeGuestMemory memory_{64 * mib};
};

TEST_F(LinuxImageTest, LoadsWhereTheKernelWantsToBe) {
  const auto kernel = load();
  ASSERT_TRUE(kernel) << kernel.error().message;
  EXPECT_EQ(kernel->entry, 16 * mib + 0x200);
  EXPECT_EQ(kernel->room.start, 16 * mib);
  EXPECT_EQ(kernel->room.size, 4 * mib);
  EXPECT_EQ(kernel->initrd_end, 0x80000000U);
  EXPECT_EQ(memory_.get<std::byte>(16 * mib), image_[3 * 512]);
  EXPECT_EQ(memory_.get<std::byte>(16 * mib + 0xfff), image_.back());
  setup_header copy{};
  ASSERT_EQ(kernel->setup_header.size(), sizeof copy);
  std::memcpy(&copy, kernel->setup_header.data(), sizeof copy);
  EXPECT_EQ(std::uint32_t{copy.init_size}, 4 * mib); // the struct is packed: copies alone
}

TEST_F(LinuxImageTest, MovesDownWhereThereIsLittleRam) {
  const auto kernel = load(8 * mib);
  ASSERT_TRUE(kernel) << kernel.error().message;
  EXPECT_EQ(kernel->entry, 2 * mib + 0x200);
}

TEST_F(LinuxImageTest, RefusesWhatDoesNotFit) {
  EXPECT_THAT(load(4 * mib), FailsWith(Errc::bad_image, "needs 4096 KiB"));
  header_.relocatable_kernel = 0;
  EXPECT_THAT(load(8 * mib), FailsWith(Errc::bad_image, "give the guest more memory"));
}

TEST_F(LinuxImageTest, RefusesAKernelWithoutA64BitEntry) {
  header_.xloadflags = 0;
  EXPECT_THAT(load(), FailsWith(Errc::bad_image, "64-bit"));
  header_.xloadflags = XLF_KERNEL_64;
  header_.version = 0x020b;
  EXPECT_THAT(load(), FailsWith(Errc::bad_image, "2.11"));
  EXPECT_TRUE(memory_.writes().empty());
}

TEST_F(LinuxImageTest, RefusesAFileThatIsCutOffOrContradictsItself) {
  image_.resize(image_.size() - 16);
  EXPECT_THAT(load(), FailsWith(Errc::bad_image, "cut off"));
  image_.resize(3 * 512 + 0x1000);
  header_.setup_sects = 255;
  EXPECT_THAT(load(), FailsWith(Errc::bad_image, "cut off"));
  header_.setup_sects = 2;
  header_.syssize = 0xffffffff;
  EXPECT_THAT(load(), FailsWith(Errc::bad_image, "cut off"));
  header_.syssize = 0x100;
  header_.init_size = 0xfff;
  EXPECT_THAT(load(), FailsWith(Errc::bad_image, "contradicts"));
  header_.init_size = 4 * mib;
  header_.kernel_alignment = 3;
  EXPECT_THAT(load(), FailsWith(Errc::bad_image, "contradicts"));
  header_.kernel_alignment = 2 * mib;
  header_.pref_address = 0x1000;
  EXPECT_THAT(load(), FailsWith(Errc::bad_image, "contradicts"));
  EXPECT_TRUE(memory_.writes().empty());
}

TEST_F(LinuxImageTest, OnlyABootSectorWithItsMagicIsABzImage) {
  ASSERT_TRUE(load());
  EXPECT_TRUE(is_bzimage(image_));
  EXPECT_FALSE(is_bzimage(std::span(image_).first(0x205)));
  image_[0x202] = std::byte{0};
  EXPECT_FALSE(is_bzimage(image_));
}

TEST_F(LinuxImageTest, TheInitrdIsAsHighAsItMay) {
  auto kernel = load();
  ASSERT_TRUE(kernel);
  const std::vector<std::byte> disk(0x1234, std::byte{7});
  const auto at = load_initrd(memory_, disk, "initrd", *kernel);
  ASSERT_TRUE(at) << at.error().message;
  EXPECT_EQ(at->start, 64 * mib - 0x2000);
  EXPECT_EQ(at->size, 0x1234U);
  EXPECT_EQ(memory_.get<std::byte>(at->start + 0x1233), std::byte{7});
  kernel->initrd_end = 32 * mib;
  const auto lower = load_initrd(memory_, disk, "initrd", *kernel);
  ASSERT_TRUE(lower);
  EXPECT_EQ(lower->start, 32 * mib - 0x2000);
}

TEST_F(LinuxImageTest, TheInitrdKeepsClearOfTheKernel) {
  const auto kernel = load(20 * mib); // the kernel's room is the last of it
  ASSERT_TRUE(kernel);
  const auto at =
      load_initrd(memory_, std::vector<std::byte>(1 * mib, std::byte{7}), "initrd", *kernel);
  ASSERT_TRUE(at) << at.error().message;
  EXPECT_EQ(at->start, 15 * mib);
  EXPECT_THAT(
      load_initrd(memory_, std::vector<std::byte>(16 * mib, std::byte{7}), "initrd", *kernel),
      FailsWith(Errc::bad_image, "no room"));
  EXPECT_THAT(load_initrd(memory_, {}, "initrd", *kernel), FailsWith(Errc::bad_image, "empty"));
}

} // namespace
} // namespace slat::vmm
