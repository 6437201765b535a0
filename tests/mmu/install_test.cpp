#include "mmu/install.hpp"

#include "hooked_atomics.hpp"
#include "support.hpp"

namespace slat::mmu {
namespace {

using testing::HookedAtomics;

constexpr std::uint64_t empty = 0;
constexpr std::uint64_t frozen = 0x100;
constexpr std::uint64_t page = 0x7001;

struct InstallTest : ::testing::Test {
  using A = HookedAtomics;
  InvalidateSeqOf<A> seq;
  A::atomic<std::uint64_t> entry{empty};

  InstallOutcome install(std::uint64_t snapshot, std::uint64_t old = empty) {
    return install_entry<A>(entry, old, frozen, page, seq, snapshot, 10, 11);
  }

  /// Runs `function` after the entry is frozen and the check is done, before the last CAS.
  static void between_check_and_publish(std::function<void()> function) {
    A::before_cas = [function] { A::before_cas = function; };
  }
};

TEST_F(InstallTest, undisturbed_fault_installs) {
  EXPECT_EQ(install(seq.snapshot()), InstallOutcome::installed);
  EXPECT_EQ(entry.load(), page);
}

TEST_F(InstallTest, entry_that_is_not_as_expected_is_left_alone) {
  entry = 0x9001;
  EXPECT_EQ(install(seq.snapshot()), InstallOutcome::lost);
  EXPECT_EQ(entry.load(), 0x9001u);
}

TEST_F(InstallTest, I29_frozen_entry_of_another_is_left_alone) {
  entry = frozen + 1;
  EXPECT_EQ(install(seq.snapshot()), InstallOutcome::lost);
  EXPECT_EQ(entry.load(), frozen + 1);
}

TEST_F(InstallTest, I20_range_in_progress_stops_the_install_and_restores_the_entry) {
  const std::uint64_t snapshot = seq.snapshot();
  entry = 0x42;
  seq.begin(0, 100);
  EXPECT_EQ(install(snapshot, 0x42), InstallOutcome::in_progress);
  EXPECT_EQ(entry.load(), 0x42u);
  seq.end(0, 100);
}

TEST_F(InstallTest, I20_range_since_the_snapshot_stops_the_install) {
  const std::uint64_t snapshot = seq.snapshot();
  seq.begin(0, 100);
  seq.end(0, 100);
  EXPECT_EQ(install(snapshot), InstallOutcome::moved);
  EXPECT_EQ(entry.load(), empty);
}

TEST_F(InstallTest, I20_range_between_check_and_publish_empties_FROZEN_and_the_publish_fails) {
  between_check_and_publish([&] {
    EXPECT_EQ(entry.load(), frozen) << "the intent is visible before the check";
    seq.begin(0, 100);
    entry.exchange(empty);
    seq.end(0, 100);
  });
  EXPECT_EQ(install(seq.snapshot()), InstallOutcome::moved);
  EXPECT_EQ(entry.load(), empty) << "a stale entry became visible";
}

TEST_F(InstallTest, I29_emptied_entry_that_another_fault_froze_is_not_published_over) {
  between_check_and_publish([&] {
    seq.begin(0, 100);
    entry.exchange(empty);
    seq.end(0, 100);
    entry = frozen + 1; // another thread's, started afterwards
  });
  EXPECT_EQ(install(seq.snapshot()), InstallOutcome::moved);
  EXPECT_EQ(entry.load(), frozen + 1);
}

TEST(InstallRace, I20_no_stale_entry_is_ever_visible) {
  // `generation` is the page behind the address; an invalidator changes it inside its range and looks
  // for an old one in the entry, which by then may be empty or frozen only.
  InvalidateSeq seq;
  std::atomic<std::uint64_t> entry{empty};
  std::atomic<std::uint64_t> generation{1};
  std::atomic<bool> stop{false};
  std::atomic<int> installs{0};
  const auto frozen_of = [](std::uint64_t thread) { return 2 + 4 * thread; };
  std::vector<std::thread> faults;
  for (std::uint64_t t = 0; t < 2; ++t)
    faults.emplace_back([&, t] {
      while (!stop) {
        const std::uint64_t snapshot = seq.snapshot();
        const std::uint64_t resolved = generation.load(std::memory_order_acquire);
        if (install_entry<StdAtomics>(entry, empty, frozen_of(t), (resolved << 8) | 1, seq,
                                      snapshot, 0, 1) == InstallOutcome::installed)
          ++installs;
        const std::uint64_t seen = entry.load(std::memory_order_acquire);
        if ((seen & 1) != 0) {
          EXPECT_LE(seen >> 8, generation.load(std::memory_order_acquire));
        }
      }
    });
  for (int i = 0; i < 20000 || installs.load() == 0; ++i) {
    seq.begin(0, 1);
    entry.exchange(empty, std::memory_order_seq_cst);
    const std::uint64_t old = generation.fetch_add(1, std::memory_order_acq_rel);
    const std::uint64_t seen = entry.load(std::memory_order_acquire);
    EXPECT_EQ(seen & 1, 0u) << "generation " << (seen >> 8) << " is mapped while " << old
                            << " is being invalidated";
    seq.end(0, 1);
    if (i % 8 == 0) std::this_thread::yield();
  }
  stop = true;
  for (std::thread& fault : faults) fault.join();
}

} // namespace
} // namespace slat::mmu
