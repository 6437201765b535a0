#include "vmm/power_control.hpp"

#include "fake_guest_memory.hpp"
#include "vmm/acpi.hpp"
#include "vmm/layout.hpp"

#include <array>
#include <gtest/gtest.h>
#include <vector>

namespace slat::vmm {
namespace {

using Request = PowerControl::Request;

class PowerControlTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(power_.attach(ports_)); }

  void out(std::uint16_t port, std::uint32_t value, unsigned unit = 1) {
    ports_.write(port, unit, std::as_bytes(std::span(&value, 1)).first(unit));
  }

  unsigned in(std::uint16_t port) {
    std::byte byte{};
    ports_.read(port, 1, {&byte, 1});
    return std::to_integer<unsigned>(byte);
  }

  std::vector<Request> requests_;
  PowerControl power_{[this](Request request) { requests_.push_back(request); }};
  PortBus ports_;
};

TEST_F(PowerControlTest, S5IsOff) {
  out(acpi_sleep_control_port, 0x20 | acpi_s5_type << 2);
  EXPECT_EQ(requests_, std::vector{Request::off});
}

TEST_F(PowerControlTest, OtherSleepsAndATypeWithoutTheEnableBitAreNothing) {
  out(acpi_sleep_control_port, 0x20 | 3 << 2);
  out(acpi_sleep_control_port, acpi_s5_type << 2);
  out(acpi_sleep_status_port, 0x20 | acpi_s5_type << 2);
  EXPECT_TRUE(requests_.empty());
}

TEST_F(PowerControlTest, TheKeyboardControllersPulseIsAReset) {
  out(0x64, 0xd1); // another command
  EXPECT_TRUE(requests_.empty());
  out(0x64, 0xfe);
  EXPECT_EQ(requests_, std::vector{Request::reset});
}

TEST_F(PowerControlTest, RegistersAreBytes) {
  out(acpi_sleep_control_port, 0x20 | acpi_s5_type << 2, 2);
  out(0x64, 0xfe, 4);
  EXPECT_TRUE(requests_.empty());
}

TEST_F(PowerControlTest, NothingHasWokenTheGuestAndTheKeyboardControllerTakesACommand) {
  EXPECT_EQ(in(acpi_sleep_status_port), 0U);
  EXPECT_EQ(in(0x64), 0U);
}

TEST_F(PowerControlTest, TheResetVectorPulsesTheResetLine) {
  FakeGuestMemory memory(2 * mib);
  ASSERT_TRUE(PowerControl::write_reset_vector(memory));
  std::array<std::uint8_t, 4> code{};
  ASSERT_TRUE(memory.read(0xffff0, std::as_writable_bytes(std::span(code))));
  EXPECT_EQ(code, (std::array<std::uint8_t, 4>{0xb0, 0xfe, 0xe6, 0x64})) << "mov al; out 0x64, al";
}

} // namespace
} // namespace slat::vmm
