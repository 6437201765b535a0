// slat boot says so where a guest makes no progress, and leaves it running.
#include "elf_builder.hpp"
#include "slat.hpp"

#include <gtest/gtest.h>

namespace slat::test {
namespace {

using testing::HasSubstr;
using testing::Not;

/// Boots it, waits for the text, and ends it.
Ended until(const std::vector<std::string>& arguments, const std::string& text) {
  Process process(slat_process(arguments));
  EXPECT_TRUE(process.wait_for_output(text));
  process.send(SIGINT);
  return process.finish();
}

class Progress : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (accel() == "kvm") SLAT_NEEDS_GUEST();
  }

  [[nodiscard]] static std::string accel() { return GetParam(); }
};

TEST_P(Progress, IsMissedInAGuestThatSpins) {
  const Ended ended =
      until(boot_hello("spin", {"--accel", accel(), "--progress-timeout", "1"}), "no progress");
  EXPECT_EQ(ended.exit_code, 130) << "a notice is not the end";
  EXPECT_THAT(ended.err, HasSubstr("slat: the guest makes no progress: for 1 s"));
  EXPECT_THAT(ended.err, testing::ContainsRegex("vCPU 0 is at 0x1[0-9a-f]{5} in ring 3"));
}

TEST_P(Progress, IsMissedInAGuestThatNeverPrints) {
  const TemporaryDirectory directory;
  vmm::ElfBuilder elf;
  elf.add_code(vmm::ElfBuilder::load_address, {std::byte{0xeb}, std::byte{0xfe}}); // jmp $
  const vmm::Bytes image = elf.build();
  const std::string path =
      directory.write("mute.elf", {reinterpret_cast<const char*>(image.data()), image.size()});
  const Ended ended =
      until({"boot", "--accel", accel(), "--kernel", path, "--progress-timeout", "1"}, "no sign");
  EXPECT_EQ(ended.exit_code, 130);
  EXPECT_THAT(ended.err, HasSubstr("not a byte on its serial port in 1 s"));
  EXPECT_THAT(ended.err, HasSubstr("vCPU 0 is at 0x100000 in ring 0 (jmp 0x"));
  EXPECT_THAT(ended.err, Not(HasSubstr("no progress"))) << "one line is enough";
}

TEST_P(Progress, IsNotLookedForWhereNobodyWantsIt) {
  Process process(
      slat_process(boot_hello("spin", {"--accel", accel(), "--progress-timeout", "0"})));
  EXPECT_TRUE(process.wait_for_output("spinning"));
  process.send(SIGINT);
  EXPECT_EQ(process.finish().err, "slat: interrupted, the guest is stopped\n");
}

INSTANTIATE_TEST_SUITE_P(Accel, Progress, testing::Values("kvm", "soft"),
                         [](const auto& param) { return std::string(param.param); });

} // namespace
} // namespace slat::test
