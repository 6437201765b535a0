// Random numbers and the console.
#include "driver.hpp"
#include "vmm/virtio/console.hpp"
#include "vmm/virtio/entropy.hpp"

#include <algorithm>

namespace slat::vmm::virtio {
namespace {

TEST(Entropy, FillsBuffersUpToItsLimit) {
  Entropy device;
  Rig rig(device);
  Driver driver(rig);
  driver.start(1);
  driver.submit(0, {{0x100001, 5000, true}, {0x110000, 3, true}});
  EXPECT_EQ(driver.used(0), (std::vector<Used>{{0, 5003}}));
  const auto bytes = rig.bytes(0x100001, 5000);
  EXPECT_GT(std::ranges::count_if(bytes, [](std::byte b) { return b != std::byte{0}; }), 4500);
  EXPECT_EQ(rig.load<std::uint8_t>(0x100000), 0) << "nothing before it";
  driver.submit(0, {{0x100000, 2 * Entropy::max_bytes, true}});
  EXPECT_EQ(driver.used(0), (std::vector<Used>{{0, Entropy::max_bytes}}));
}

class ConsoleTest : public testing::Test {
 protected:
  ConsoleTest() { driver_.start(2); }

  void type(const std::string& text) { device_.receive(text); }

  std::string text(Gpa address, std::size_t count) {
    std::string found;
    for (const std::byte byte : rig_.bytes(address, count)) found += static_cast<char>(byte);
    return found;
  }

  std::string printed_;
  VirtioConsole device_{
      [this](std::span<const char> bytes) { printed_.append(bytes.begin(), bytes.end()); }};
  Rig rig_{device_};
  Driver driver_{rig_};
};

TEST_F(ConsoleTest, PrintsAllOfABuffer) {
  const std::string line(3000, 'x');
  ASSERT_TRUE(rig_.ram().write(0x100f00, std::as_bytes(std::span(line))));
  driver_.submit(1, {{0x100f00, 3000, false}});
  EXPECT_EQ(printed_, line);
  EXPECT_EQ(driver_.used(1), (std::vector<Used>{{0, 0}}));
}

TEST_F(ConsoleTest, WhatIsTypedWaitsForABuffer) {
  type("early");
  rig_.transport().drain();
  EXPECT_TRUE(driver_.used(0).empty());
  driver_.submit(0, {{0x100000, 64, true}});
  EXPECT_EQ(driver_.used(0), (std::vector<Used>{{0, 5}}));
  EXPECT_EQ(text(0x100000, 5), "early");
}

TEST_F(ConsoleTest, ABufferWaitsForWhatIsTyped) {
  driver_.submit(0, {{0x100000, 2, true}}, 0);
  driver_.submit(0, {{0x101000, 64, true}}, 1);
  EXPECT_TRUE(driver_.used(0).empty());
  type("later");
  rig_.transport().drain();
  EXPECT_EQ(driver_.used(0), (std::vector<Used>{{0, 2}, {1, 3}}));
  EXPECT_EQ(text(0x100000, 2) + text(0x101000, 3), "later");
}

TEST_F(ConsoleTest, TakesNoMoreThanItHasRoomFor) {
  const std::string piece(ConsoleInput::input_piece, 'a');
  unsigned pieces = 0;
  for (; device_.has_room(); ++pieces) type(piece);
  EXPECT_EQ(pieces, 16u);
  driver_.submit(0, {{0x100000, 512, true}});
  EXPECT_TRUE(device_.has_room());
}

} // namespace
} // namespace slat::vmm::virtio
