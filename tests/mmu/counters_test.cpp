#include "mmu/counters.hpp"

#include "support.hpp"

#include <set>

namespace slat::mmu {
namespace {

TEST(Counters, names_are_distinct_and_carry_a_unit) {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < counter_kinds; ++i) {
    const std::string_view text = name(Counter(i));
    EXPECT_TRUE(names.insert(text).second) << text;
    EXPECT_EQ(text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_"), text.npos) << text;
    EXPECT_TRUE(text.ends_with("_count") || text.ends_with("_pages")) << text;
  }
  EXPECT_EQ(name(Counter::fault_count), "fault_count");
  EXPECT_EQ(name(Counter::efault_count), "efault_count");
  EXPECT_EQ(name(Counter::tlb_flush_count), "tlb_flush_count");
  EXPECT_EQ(name(Counter::invalidate_refused_count), "invalidate_refused_count");
}

TEST(Counters, each_counts_for_itself) {
  Counters counters;
  counters.add(Counter::filled_pages, 5);
  counters.add(Counter::filled_pages);
  EXPECT_EQ(counters.sum(Counter::filled_pages), 6u);
  for (std::size_t i = 0; i < counter_kinds; ++i)
    if (Counter(i) != Counter::filled_pages) {
      EXPECT_EQ(counters.sum(Counter(i)), 0u);
    }
}

TEST(Counters, no_add_of_any_thread_is_lost) {
  Counters counters;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 100; ++t) // more threads than slots, and threads that follow others
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) counters.add(Counter::fault_count);
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counters.sum(Counter::fault_count), 50000u);
}

TEST(Errors, every_code_has_a_name_of_its_own) {
  std::set<std::string_view> names;
  for (int code = 0; code <= int(Errc::os_failed); ++code) {
    EXPECT_NE(to_string(Errc(code)), "?");
    EXPECT_TRUE(names.insert(to_string(Errc(code))).second);
  }
}

} // namespace
} // namespace slat::mmu
