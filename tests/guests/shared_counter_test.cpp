#include "guests/shared_counter.hpp"

#include <array>
#include <gtest/gtest.h>
#include <thread>
#include <vector>

namespace slat::guest {
namespace {

constexpr std::uint64_t address = 0x196200;

struct Cell {
  Cell() { init_counter(words.data(), address); }

  std::array<std::uint64_t, counter_cell_words> words{};
};

TEST(SharedCounter, AddsUpOverThreadsAndIsMonotonicForEach) {
  Cell cell;
  std::vector<LedgerEntry> ledgers(4);
  std::vector<int> bad(4);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < ledgers.size(); ++t) {
    threads.emplace_back([&, t] {
      for (std::uint64_t i = 0; i < 20'000; ++i) {
        if (!advance_counter(cell.words.data(), address, ledgers[t], i % 7 + 1).good) ++bad[t];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::uint64_t sum = 0;
  for (const LedgerEntry& ledger : ledgers) sum += ledger.added;
  EXPECT_EQ(cell.words[0], sum);
  EXPECT_EQ(bad, std::vector<int>(4));
}

TEST(SharedCounter, SeesACounterThatRanBackwardsOnce) {
  Cell cell;
  LedgerEntry ledger{};
  EXPECT_TRUE(advance_counter(cell.words.data(), address, ledger, 10).good);
  cell.words[0] = 9; // one of the ten is lost
  const CounterCheck check = advance_counter(cell.words.data(), address, ledger, 5);
  EXPECT_FALSE(check.good);
  EXPECT_EQ(check.word, 0u);
  EXPECT_EQ(check.expected, 10u);
  EXPECT_EQ(check.found, 9u);
  EXPECT_TRUE(advance_counter(cell.words.data(), address, ledger, 1).good);
  EXPECT_EQ(ledger.added, 16u);
  EXPECT_EQ(cell.words[0], 15u); // so the sum shows it as well
}

TEST(SharedCounter, AllowsWhatOthersAdded) {
  Cell cell;
  LedgerEntry ledger{};
  EXPECT_TRUE(advance_counter(cell.words.data(), address, ledger, 10).good);
  cell.words[0] += 1000;
  EXPECT_TRUE(advance_counter(cell.words.data(), address, ledger, 1).good);
  EXPECT_EQ(ledger.seen, 1011u);
  EXPECT_EQ(ledger.added, 11u);
}

TEST(SharedCounter, SeesTheCellOfAnotherAddress) {
  Cell cell;
  LedgerEntry ledger{};
  const CounterCheck check = advance_counter(cell.words.data(), address + 512, ledger, 1);
  EXPECT_FALSE(check.good);
  EXPECT_EQ(check.word, 1u);
  EXPECT_EQ(check.expected, counter_label(address + 512));
  EXPECT_EQ(check.found, counter_label(address));
}

} // namespace
} // namespace slat::guest
