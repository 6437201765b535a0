#include "mmu/notifier.hpp"

#include "support.hpp"

#include <random>

namespace slat::mmu {
namespace {

using testing::eventually;
using testing::FakeNotifier;
using testing::Latch;
using testing::stays;

constexpr NotifierRange one_page{0x1000, 0x2000, InvalidateEvent::zap};
constexpr NotifierRange other_page{0x5000, 0x6000, InvalidateEvent::unmap};

struct NotifierRace : ::testing::Test {
  Counters counters;
  NotifierChain chain{counters};
  FakeNotifier here, there;
};

TEST_F(NotifierRace, I19_registration_waits_for_the_ranges_in_progress) {
  ASSERT_TRUE(chain.register_notifier(here));
  auto scope = chain.invalidate_range_start(one_page);
  ASSERT_TRUE(scope);
  std::atomic<bool> registered{false};
  std::thread late([&] {
    EXPECT_TRUE(chain.register_notifier(there));
    registered = true;
  });
  EXPECT_TRUE(stays([&] { return !registered.load(); }));
  scope->end();
  late.join();
  EXPECT_EQ(there.starts.load(), 0);
  EXPECT_EQ(there.ends.load(), 0) << "no end without its start";
  {
    auto next = chain.invalidate_range_start(one_page);
  }
  EXPECT_EQ(there.starts.load(), 1);
  EXPECT_EQ(there.ends.load(), 1);
}

TEST_F(NotifierRace, I19_nested_range_passes_a_registration_that_waits_for_the_outer_one) {
  auto outer = chain.invalidate_range_start(one_page);
  ASSERT_TRUE(outer);
  std::atomic<bool> registered{false};
  std::thread late([&] {
    EXPECT_TRUE(chain.register_notifier(there));
    registered = true;
  });
  EXPECT_TRUE(stays([&] { return !registered.load(); }));
  {
    auto inner = chain.invalidate_range_start(other_page); // a deadlock if it queued up
    ASSERT_TRUE(inner);
    EXPECT_FALSE(registered);
    EXPECT_EQ(there.starts.load(), 0) << "told of the inner range, and not of the outer one";
  }
  outer->end();
  late.join();
  EXPECT_EQ(there.balance(), 0);
}

TEST_F(NotifierRace, I19_range_of_another_chain_does_not_pass_the_gate_of_this_one) {
  NotifierChain other(counters);
  ASSERT_TRUE(other.register_notifier(here)); // inside no range of its own chain: allowed
  auto outer = chain.invalidate_range_start(one_page);
  ASSERT_TRUE(outer);
  std::thread late([&] { EXPECT_TRUE(chain.register_notifier(there)); });
  EXPECT_TRUE(eventually([&] { // the gate is closed once somebody is turned away
    bool refused = false;
    std::thread([&] {
      const auto elsewhere = other.invalidate_range_start(one_page);
      refused = !chain.invalidate_range_start(
          {0x5000, 0x6000, InvalidateEvent::reclaim, /*blockable=*/false});
    }).join();
    return refused;
  }));
  {
    const auto elsewhere = other.invalidate_range_start(one_page);
    auto nested = chain.invalidate_range_start(other_page); // this thread is inside a range of it
    EXPECT_TRUE(nested);
  }
  outer->end();
  late.join();
  EXPECT_EQ(there.balance(), 0);
  other.unregister_notifier(here);
}

TEST_F(NotifierRace, range_inside_an_aging_callback_passes_a_registration_that_waits_for_it) {
  Latch inside;
  Latch go_on;
  bool once = true;
  here.on_young = [&] {
    if (!std::exchange(once, false)) return false;
    inside.open();
    go_on.wait();
    auto range = chain.invalidate_range_start(one_page); // a deadlock if it queued up
    EXPECT_TRUE(range);
    return true;
  };
  ASSERT_TRUE(chain.register_notifier(here));
  std::thread ager([&] { EXPECT_TRUE(chain.clear_young(0x1000, 0x2000)); });
  inside.wait();
  std::atomic<bool> registered{false};
  std::thread late([&] {
    EXPECT_TRUE(chain.register_notifier(there)); // published, and waits for the aging call
    registered = true;
  });
  EXPECT_TRUE(stays([&] { return !registered.load(); }));
  go_on.open();
  ager.join();
  late.join();
  EXPECT_EQ(here.balance(), 0);
  EXPECT_EQ(there.balance(), 0);
}

TEST_F(NotifierRace, I19_new_range_waits_for_the_registration_under_way_unless_it_must_not) {
  auto outer = chain.invalidate_range_start(one_page);
  ASSERT_TRUE(outer);
  std::thread late([&] { EXPECT_TRUE(chain.register_notifier(there)); });
  EXPECT_TRUE(eventually([&] { // the gate is closed once somebody is turned away
    bool refused = false;
    std::thread([&] {
      refused = !chain.invalidate_range_start(
          {0x5000, 0x6000, InvalidateEvent::reclaim, /*blockable=*/false});
    }).join();
    return refused;
  }));
  std::atomic<bool> begun{false};
  std::thread blocked([&] {
    auto scope = chain.invalidate_range_start(other_page);
    EXPECT_TRUE(scope);
    begun = true;
    EXPECT_EQ(there.balance(), 1) << "it comes after the registration, so it is told";
  });
  EXPECT_TRUE(stays([&] { return !begun.load(); }));
  outer->end();
  blocked.join();
  late.join();
  EXPECT_EQ(there.balance(), 0);
}

TEST_F(NotifierRace, I19_end_tells_those_whom_start_told) {
  ASSERT_TRUE(chain.register_notifier(here));
  ASSERT_TRUE(chain.register_notifier(there));
  auto scope = chain.invalidate_range_start(one_page);
  ASSERT_TRUE(scope);
  std::atomic<bool> gone{false};
  std::thread leaver([&] {
    chain.unregister_notifier(there);
    gone = true;
  });
  EXPECT_TRUE(stays([&] { return !gone.load(); }));
  scope->end();
  leaver.join();
  EXPECT_EQ(there.starts.load(), 1);
  EXPECT_EQ(there.ends.load(), 1) << "unsubscribed in between, and yet told";
}

TEST_F(NotifierRace, I23_unregistering_waits_for_a_callback_that_sleeps) {
  Latch inside;
  Latch leave;
  here.on_start = [&](const NotifierRange&) {
    inside.open();
    leave.wait();
    return true;
  };
  ASSERT_TRUE(chain.register_notifier(here));
  std::thread range([&] { auto scope = chain.invalidate_range_start(one_page); });
  inside.wait();
  std::atomic<bool> gone{false};
  std::thread leaver([&] {
    chain.unregister_notifier(here);
    EXPECT_EQ(here.balance(), 0);
    gone = true;
  });
  EXPECT_TRUE(stays([&] { return !gone.load(); }));
  leave.open();
  leaver.join();
  range.join();
}

TEST_F(NotifierRace, I23_unregistering_waits_for_an_aging_call) {
  Latch inside;
  Latch leave;
  here.on_young = [&] {
    inside.open();
    leave.wait();
    return true;
  };
  ASSERT_TRUE(chain.register_notifier(here));
  std::thread ager([&] { EXPECT_TRUE(chain.clear_young(0x1000, 0x2000)); });
  inside.wait();
  std::atomic<bool> gone{false};
  std::thread leaver([&] {
    chain.unregister_notifier(here);
    gone = true;
  });
  EXPECT_TRUE(stays([&] { return !gone.load(); }));
  leave.open();
  leaver.join();
  ager.join();
}

TEST_F(NotifierRace, I23_unregistering_waits_for_release) {
  Latch inside;
  Latch leave;
  here.on_release = [&] {
    inside.open();
    leave.wait();
  };
  ASSERT_TRUE(chain.register_notifier(here));
  std::thread releaser([&] { chain.release(); });
  inside.wait();
  std::atomic<bool> gone{false};
  std::thread leaver([&] {
    chain.unregister_notifier(here);
    gone = true;
  });
  EXPECT_TRUE(stays([&] { return !gone.load(); }));
  leave.open();
  leaver.join();
  releaser.join();
  EXPECT_EQ(here.releases.load(), 1);
}

TEST_F(NotifierRace, I25_sleeping_callback_of_one_chain_delays_no_other) {
  NotifierChain quick(counters);
  Latch inside;
  Latch leave;
  here.on_start = [&](const NotifierRange&) {
    inside.open();
    leave.wait();
    return true;
  };
  ASSERT_TRUE(chain.register_notifier(here));
  std::thread range([&] { auto scope = chain.invalidate_range_start(one_page); });
  inside.wait();
  ASSERT_TRUE(quick.register_notifier(there)); // hangs if the chains shared a domain
  {
    auto scope = quick.invalidate_range_start(one_page);
  }
  quick.unregister_notifier(there);
  EXPECT_EQ(there.balance(), 0);
  leave.open();
  range.join();
}

TEST_F(NotifierRace, parallel_ranges_meet_inside_their_callbacks) {
  std::atomic<int> inside{0};
  here.on_start = [&](const NotifierRange&) {
    ++inside;
    EXPECT_TRUE(eventually([&] { return inside.load() == 2; })) << "ranges are serialised";
    return true;
  };
  ASSERT_TRUE(chain.register_notifier(here));
  std::thread other([&] { auto scope = chain.invalidate_range_start(other_page); });
  {
    auto scope = chain.invalidate_range_start(one_page);
  }
  other.join();
  EXPECT_EQ(here.balance(), 0);
  EXPECT_EQ(chain.sequence().count(), 0u);
}

TEST_F(NotifierRace, I18_I19_I23_books_balance_when_subscribers_come_and_go) {
  std::atomic<bool> stop{false};
  std::vector<std::thread> ranges;
  for (unsigned t = 0; t < 2; ++t)
    ranges.emplace_back([&, t] {
      std::mt19937 random(t);
      while (!stop) {
        const std::uintptr_t start = (random() % 16) << page_shift;
        auto scope = chain.invalidate_range_start(
            {start, start + page_size, InvalidateEvent::zap, random() % 2 == 0});
        if (scope && random() % 4 == 0) auto nested = chain.invalidate_range_start(one_page);
      }
    });
  for (int round = 0; round < 60; ++round) {
    FakeNotifier guest;
    guest.on_start = [](const NotifierRange& range) { return range.blockable; };
    ASSERT_TRUE(chain.register_notifier(guest));
    std::this_thread::yield();
    chain.unregister_notifier(guest); // and then it is gone: ASan and TSan watch
    EXPECT_EQ(guest.balance(), 0);
  }
  stop = true;
  for (std::thread& range : ranges) range.join();
  EXPECT_EQ(chain.sequence().count(), 0u);
}

} // namespace
} // namespace slat::mmu
