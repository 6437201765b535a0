#include "kvm/flavour.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>

namespace slat::kvm {
namespace {

namespace fs = std::filesystem;

class FlavourOf : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "slat-flavour-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    modules_ = name;
    fs::create_directories(modules_ / "kvm");
  }

  void TearDown() override { fs::remove_all(modules_); }

  void load(const std::string& module, const std::string& parameter, const std::string& value) {
    fs::create_directories(modules_ / module / "parameters");
    std::ofstream(modules_ / module / "parameters" / parameter) << value;
  }

  fs::path modules_;
};

TEST_F(FlavourOf, IntelIsTheEptParameter) {
  load("kvm_intel", "ept", "Y\n");
  EXPECT_EQ(detect_flavour(modules_), Flavour::intel_ept);
  load("kvm_intel", "ept", "N\n");
  EXPECT_EQ(detect_flavour(modules_), Flavour::intel_shadow);
}

TEST_F(FlavourOf, AmdIsTheNptParameterAsALetterOrADigit) {
  load("kvm_amd", "npt", "Y\n");
  EXPECT_EQ(detect_flavour(modules_), Flavour::amd_npt);
  load("kvm_amd", "npt", "1\n");
  EXPECT_EQ(detect_flavour(modules_), Flavour::amd_npt);
  load("kvm_amd", "npt", "0\n");
  EXPECT_EQ(detect_flavour(modules_), Flavour::amd_shadow);
}

TEST_F(FlavourOf, PvmNeedsNoParameter) {
  fs::create_directories(modules_ / "kvm_pvm");
  EXPECT_EQ(detect_flavour(modules_), Flavour::pvm);
}

TEST_F(FlavourOf, AnUnreadableOrOddParameterIsUnknownAndNotAGuess) {
  fs::create_directories(modules_ / "kvm_intel");
  EXPECT_EQ(detect_flavour(modules_), Flavour::unknown);
  load("kvm_intel", "ept", "perhaps");
  EXPECT_EQ(detect_flavour(modules_), Flavour::unknown);
}

TEST_F(FlavourOf, NoModuleIsAbsentAndNoSysfsIsUnknown) {
  EXPECT_EQ(detect_flavour(modules_), Flavour::unknown) << "kvm alone: some vendor is built in";
  fs::remove_all(modules_ / "kvm");
  EXPECT_EQ(detect_flavour(modules_), Flavour::absent);
  EXPECT_EQ(detect_flavour(modules_ / "nowhere"), Flavour::unknown);
}

TEST(Flavour, OnlyPvmAndTheUnknownAreNotTrustedWithKernelCodeAndDirtyRing) {
  EXPECT_TRUE(runs_kernel_mode_natively(Flavour::amd_shadow));
  EXPECT_FALSE(runs_kernel_mode_natively(Flavour::pvm));
  EXPECT_FALSE(has_working_dirty_ring(Flavour::pvm));
  EXPECT_TRUE(has_working_dirty_ring(Flavour::intel_ept));
  EXPECT_TRUE(has_nested_paging(Flavour::amd_npt));
  EXPECT_FALSE(has_nested_paging(Flavour::intel_shadow));
}

TEST(Flavour, EachHasANameAndASentence) {
  for (const Flavour f : {Flavour::absent, Flavour::intel_ept, Flavour::intel_shadow,
                          Flavour::amd_npt, Flavour::amd_shadow, Flavour::pvm, Flavour::unknown}) {
    EXPECT_FALSE(to_string(f).empty());
    EXPECT_GT(describe(f).size(), 10u);
  }
}

} // namespace
} // namespace slat::kvm
