#include "vmm/serial.hpp"

#include <array>
#include <gtest/gtest.h>
#include <string>
#include <thread>
#include <vector>

namespace slat::vmm {
namespace {

class SerialTest : public ::testing::Test {
 protected:
  void out(std::uint16_t reg, unsigned value) {
    const std::byte byte{static_cast<std::uint8_t>(value)};
    serial_.write(reg, 1, {&byte, 1});
  }

  unsigned in(std::uint16_t reg) {
    std::byte byte{};
    serial_.read(reg, 1, {&byte, 1});
    return std::to_integer<unsigned>(byte);
  }

  void print(std::string_view text) { serial_.write(0, 1, std::as_bytes(std::span(text))); }

  std::vector<std::string> calls_;
  std::vector<bool> line_;
  Serial serial_{
      [this](std::span<const char> bytes) { calls_.emplace_back(bytes.begin(), bytes.end()); },
      [this](bool raised) { line_.push_back(raised); }};
};

TEST_F(SerialTest, AStringIsOneCallOfTheSink) {
  print("hello, world\n");
  out(0, '!');
  EXPECT_EQ(calls_, (std::vector<std::string>{"hello, world\n", "!"}));
  EXPECT_EQ(serial_.byte_count(), 14U);
}

TEST_F(SerialTest, RecordsTheTimeOfTheFirstByteOnly) {
  EXPECT_FALSE(serial_.first_byte_time());
  const auto before = std::chrono::steady_clock::now();
  print("a");
  const auto first = serial_.first_byte_time();
  ASSERT_TRUE(first);
  EXPECT_GE(*first, before);
  EXPECT_LE(*first, std::chrono::steady_clock::now());
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  print("b");
  EXPECT_EQ(serial_.first_byte_time(), first);
}

TEST_F(SerialTest, TheTransmitterIsAlwaysReady) {
  EXPECT_EQ(in(5), 0x60U);
  print("x");
  EXPECT_EQ(in(5), 0x60U);
}

TEST_F(SerialTest, TheDivisorLatchHidesTheFirstTwoRegisters) {
  out(1, 0x03);
  out(3, 0x83);
  out(0, 0x01);
  out(1, 0x02);
  EXPECT_EQ(in(0), 0x01U);
  EXPECT_EQ(in(1), 0x02U);
  out(3, 0x03);
  EXPECT_EQ(in(3), 0x03U);
  EXPECT_EQ(in(0), 0x00U);
  EXPECT_EQ(in(1), 0x03U);
  EXPECT_TRUE(calls_.empty()) << "the divisor was printed";
}

TEST_F(SerialTest, AStringToTheLatchIsNotPrinted) {
  out(3, 0x80);
  print("abc");
  EXPECT_TRUE(calls_.empty());
  EXPECT_EQ(in(0), static_cast<unsigned>('c'));
}

TEST_F(SerialTest, IsFoundToBeA16550A) {
  out(1, 0xff);
  EXPECT_EQ(in(1), 0x0fU);
  out(1, 0);
  EXPECT_EQ(in(1), 0x00U);
  EXPECT_EQ(in(2), 0x01U);
  out(2, 0x01);
  EXPECT_EQ(in(2), 0xc1U);
  out(7, 0x5a);
  EXPECT_EQ(in(7), 0x5aU);
  EXPECT_EQ(in(6), 0xb0U);
}

TEST_F(SerialTest, LoopbackShowsModemOutputsAndPrintsNothing) {
  out(4, 0x1a);
  EXPECT_EQ(in(6) & 0xf0, 0x90U);
  out(4, 0x15);
  EXPECT_EQ(in(6) & 0xf0, 0x60U);
  print("probe");
  EXPECT_TRUE(calls_.empty());
  EXPECT_FALSE(serial_.first_byte_time());
  out(4, 0x0b);
  EXPECT_EQ(in(4), 0x0bU);
  print("real");
  EXPECT_EQ(calls_.size(), 1U);
}

TEST_F(SerialTest, RaisesItsLineUntilTheCauseIsRead) {
  out(4, 0x08);
  EXPECT_TRUE(line_.empty());
  out(1, 0x02);
  EXPECT_EQ(line_, (std::vector<bool>{true}));
  EXPECT_EQ(in(2), 0x02U);
  EXPECT_EQ(in(2), 0x01U);
  EXPECT_EQ(line_, (std::vector<bool>{true, false}));
  out(0, 'x');
  EXPECT_EQ(line_, (std::vector<bool>{true, false, true}));
  out(1, 0);
  EXPECT_EQ(line_, (std::vector<bool>{true, false, true, false}));
}

TEST_F(SerialTest, APollingGuestNeverSeesTheLine) {
  print("quiet");
  EXPECT_TRUE(line_.empty());
}

TEST_F(SerialTest, WideAccessesGoToConsecutiveRegisters) {
  const std::array<std::byte, 2> wide{std::byte{'w'}, std::byte{0x02}};
  serial_.write(0, 2, wide);
  EXPECT_EQ(calls_, (std::vector<std::string>{"w"}));
  EXPECT_EQ(in(1), 0x02U);
  std::array<std::byte, 4> past{};
  serial_.read(7, 4, past);
  EXPECT_EQ(past[1], std::byte{0xff});
  serial_.write(7, 4, past);
}

TEST(Serial, LivesWithoutASink) {
  Serial serial({});
  const std::byte byte{'x'};
  serial.write(0, 1, {&byte, 1});
  EXPECT_EQ(serial.byte_count(), 1U);
}

TEST(Serial, KeepsStringsOfSeveralThreadsWhole) {
  std::string all;
  Serial serial([&all](std::span<const char> bytes) { all.append(bytes.begin(), bytes.end()); });
  std::vector<std::thread> threads;
  for (const char c : {'a', 'b', 'c'}) {
    threads.emplace_back([&serial, c] {
      const std::string text(8, c);
      for (int i = 0; i < 500; ++i) serial.write(0, 1, std::as_bytes(std::span(text)));
    });
  }
  for (auto& thread : threads) thread.join();
  ASSERT_EQ(all.size(), 3U * 500 * 8);
  for (std::size_t i = 0; i < all.size(); i += 8)
    ASSERT_EQ(all.substr(i, 8), std::string(8, all[i]));
}

TEST_F(SerialTest, WhatIsReceivedIsReadInOrder) {
  serial_.receive(std::string_view("ok"));
  EXPECT_EQ(in(5), 0x61U);
  EXPECT_EQ(in(0), unsigned('o'));
  EXPECT_EQ(in(0), unsigned('k'));
  EXPECT_EQ(in(5), 0x60U);
  EXPECT_EQ(in(0), 0U);
}

TEST_F(SerialTest, ReceivedDataRaisesTheLineUntilAllIsRead) {
  out(4, 0x08); // OUT2
  out(1, 0x01); // received data
  serial_.receive(std::string_view("ab"));
  EXPECT_EQ(line_, (std::vector<bool>{true}));
  EXPECT_EQ(in(2) & 0x0fU, 0x04U);
  (void)in(0);
  EXPECT_EQ(in(2) & 0x0fU, 0x04U) << "one more byte";
  EXPECT_EQ(line_, (std::vector<bool>{true}));
  (void)in(0);
  EXPECT_EQ(in(2) & 0x0fU, 0x01U);
  EXPECT_EQ(line_, (std::vector<bool>{true, false}));
}

TEST_F(SerialTest, ReceivedDataComesBeforeAnEmptyTransmitter) {
  out(4, 0x08);
  out(1, 0x03);
  serial_.receive(std::string_view("a"));
  EXPECT_EQ(in(2) & 0x0fU, 0x04U);
  (void)in(0);
  EXPECT_EQ(in(2) & 0x0fU, 0x02U) << "it is still to be told";
}

TEST_F(SerialTest, WhatWasTypedEarlyOutlivesAResetOfTheFifo) {
  serial_.receive(std::string_view("early"));
  out(2, 0x07); // enable, clear both FIFOs
  EXPECT_EQ(in(0), unsigned('e'));
}

TEST_F(SerialTest, SaysWhenThereIsNoRoom) {
  const std::string piece(Serial::input_piece, 'x');
  std::size_t pieces = 0;
  while (serial_.has_room() && pieces < 1000) {
    serial_.receive(piece);
    ++pieces;
  }
  EXPECT_EQ(pieces, 16U);
  for (std::size_t i = 0; i < piece.size(); ++i) (void)in(0);
  EXPECT_TRUE(serial_.has_room());
}

} // namespace
} // namespace slat::vmm
