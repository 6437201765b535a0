#include "mmu/thread_slot.hpp"

#include "support.hpp"

#include <set>

namespace slat::mmu {
namespace {

using testing::Latch;

/// The numbers of `count` threads that are alive at the same time.
std::vector<unsigned> slots_of_live_threads(unsigned count) {
  std::vector<unsigned> slots(count);
  std::atomic<unsigned> have{0};
  Latch leave;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < count; ++i)
    threads.emplace_back([&, i] {
      slots[i] = thread_slot();
      EXPECT_EQ(thread_slot(), slots[i]);
      ++have;
      leave.wait();
      EXPECT_EQ(thread_slot(), slots[i]);
    });
  EXPECT_TRUE(testing::eventually([&] { return have.load() == count; }));
  leave.open();
  for (std::thread& thread : threads) thread.join();
  return slots;
}

TEST(ThreadSlot, live_threads_have_numbers_of_their_own) {
  const unsigned own = thread_slot(); // before the others: a number of theirs comes back
  const std::vector<unsigned> slots = slots_of_live_threads(20);
  std::set<unsigned> distinct(slots.begin(), slots.end());
  distinct.insert(own);
  EXPECT_EQ(distinct.size(), 21u);
  EXPECT_LT(*distinct.rbegin(), exclusive_thread_slots);
}

TEST(ThreadSlot, those_that_find_none_share_the_last) {
  // Twice: the numbers of the first lot have come back. Those that share keep sharing.
  for (int round = 0; round < 2; ++round) {
    (void)thread_slot();
    std::vector<unsigned> slots = slots_of_live_threads(exclusive_thread_slots + 10);
    std::set<unsigned> exclusive;
    unsigned sharing = 0;
    for (const unsigned slot : slots)
      if (slot == shared_thread_slot)
        ++sharing;
      else
        EXPECT_TRUE(exclusive.insert(slot).second) << slot;
    EXPECT_GE(sharing, 11u); // this thread has one too; others of the process may
    EXPECT_GE(exclusive.size(), exclusive_thread_slots - 10) << "numbers are lost";
    EXPECT_FALSE(exclusive.contains(thread_slot()));
  }
}

TEST(ThreadSlot, numbers_are_recycled) {
  const unsigned own = thread_slot();
  std::set<unsigned> seen;
  for (unsigned i = 0; i < 3 * thread_slots; ++i)
    std::thread([&] { seen.insert(thread_slot()); }).join();
  EXPECT_FALSE(seen.contains(shared_thread_slot));
  EXPECT_FALSE(seen.contains(own));
}

TEST(ThreadSlot, thread_that_is_about_to_end_shares) {
  // A thread_local that is destroyed after the number has been given back still finds one.
  struct Late {
    std::atomic<unsigned>* slot = nullptr;

    ~Late() { *slot = thread_slot(); }
  };

  std::atomic<unsigned> before{0};
  std::atomic<unsigned> after{0};
  std::thread([&] {
    static thread_local Late late;
    late.slot = &after;
    before = thread_slot();
  }).join();
  EXPECT_LT(before.load(), exclusive_thread_slots);
  EXPECT_EQ(after.load(), shared_thread_slot);
}

} // namespace
} // namespace slat::mmu
