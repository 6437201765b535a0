// All or nothing: in every operation every system call, every allocation and every guard of a mapping
// fails once, and after each failure all is as it was: VMAs, host mappings, page words, data, pages
// reserved, accounting. Where an operation gets over the failure, all is as if there had been none.
#include "failing_new.hpp"
#include "fake_store.hpp"
#include "mmu/address_space.hpp"
#include "mmu/alloc.hpp"
#include "mmu/vma_lock/all_designs.hpp"
#include "support.hpp"

#include <optional>

namespace slat::mmu {
namespace {

using testing::World;

constexpr std::uint64_t pages = 64;        // of the backing
constexpr std::uint64_t region_pages = 64; // of the stretch of address space

struct State {
  VmaViews vmas;
  std::map<std::uintptr_t, testing::HostPage> host;
  std::uint64_t reserved_here = 0;  // bytes without memory in the stretch
  std::set<std::uintptr_t> locked;  // pages, by the host
  std::vector<std::uint64_t> words; // without the `installed` hint, which may be dropped
  std::vector<std::pair<std::byte, std::byte>> data;
  std::vector<bool> mapped; // pages of the backing that are reserved
  std::uint64_t mapped_bytes = 0, committed_bytes = 0, locked_bytes = 0, resident_bytes = 0;
  std::uint64_t ranges = 0; // in progress
};

struct Guard final : ViewGuard {
  Result<void> guard(std::uintptr_t, std::size_t) override { return call(); }

  Result<void> write_protect(std::uintptr_t, std::size_t, bool) override { return call(); }

  Result<void> call() {
    if (countdown != 0 && --countdown == 0) return fail(Errc::os_failed, EBUSY, "the guard fails");
    return {};
  }

  unsigned countdown = 0;
};

/// [0,6) and [6,12) that touch, [14,20), and [24,28) locked; about half of the pages have content.
struct Fixture {
  explicit Fixture(std::uint64_t window = 0)
      : world(pages, false, AddressSpaceOptions{.window = window, .guard = &guard}) {
    if (window != 0) {
      const std::uintptr_t any = world.map(63, 1);
      EXPECT_TRUE(world.mm.unmap(any, page_size));
      base = any;
    }
    world.backing->set_store(store);
    world.source->uniform = true;
    world.map(0, 6, at(0));
    world.map(8, 6, at(6));
    world.map(20, 6, at(14), vm_read);
    world.map(30, 4, at(24));
    EXPECT_TRUE(world.mm.lock(at(24), 4 * page_size));
    for (const std::uint64_t page : {0u, 1u, 2u, 3u, 5u, 6u, 7u, 8u, 11u, 14u, 16u, 17u, 19u})
      EXPECT_EQ(world.fault(at(page)).result, FaultResult::done);
    world.mm.set_populate_mmu(world.mmu);
  }

  [[nodiscard]] std::uintptr_t at(std::uint64_t page) const { return base + (page << page_shift); }

  State state() {
    State now;
    now.vmas = world.mm.vmas();
    now.host = testing::host_pages(world.name, *world.backing);
    now.reserved_here = testing::reserved_bytes(at(0), at(region_pages));
    now.locked = testing::host_locked_pages(world.name);
    for (std::uint64_t page = 0; page < pages; ++page) {
      now.words.push_back(world.backing->word(page).read().raw() & ~PageBits::installed);
      now.data.emplace_back(testing::byte_at(*world.backing, page),
                            testing::byte_at(*world.backing, page, page_size - 1));
      const bool free = world.backing->reserve_pages({page, 1}).has_value();
      if (free) world.backing->unreserve_pages({page, 1});
      now.mapped.push_back(!free);
    }
    const MemoryUsage usage = world.mm.usage();
    now.mapped_bytes = usage.mapped_bytes;
    now.committed_bytes = usage.committed_bytes;
    now.locked_bytes = usage.locked_bytes;
    now.resident_bytes = usage.resident_bytes;
    now.ranges = world.mm.notifiers().sequence().count();
    return now;
  }

  /// Every page still faults, so no lock was left behind either.
  void expect_alive() {
    for (const VmaView& vma : world.mm.vmas())
      for (std::uintptr_t address = vma.start; address < vma.end; address += page_size)
        ASSERT_EQ(world.fault(address, vm_none).result, FaultResult::done);
  }

  testing::FakeStore store; // outlives the backing
  Guard guard;              // outlives the address space
  World world;
  std::uintptr_t base = stretch();

 private:
  /// Always the same: address space that is set aside makes /proc/self/maps long.
  static std::uintptr_t stretch() {
    static const std::uintptr_t start = testing::free_addresses(region_pages);
    (void)host::unmap(start, region_pages << page_shift); // what a failure left reserved
    return start;
  }
};

void expect_same(const State& one, const State& other) {
  EXPECT_EQ(one.vmas, other.vmas);
  EXPECT_EQ(one.host, other.host);
  EXPECT_EQ(one.locked, other.locked);
  EXPECT_EQ(one.words, other.words);
  EXPECT_EQ(one.data, other.data);
  EXPECT_EQ(one.mapped, other.mapped);
  EXPECT_EQ(one.mapped_bytes, other.mapped_bytes);
  EXPECT_EQ(one.committed_bytes, other.committed_bytes);
  EXPECT_EQ(one.locked_bytes, other.locked_bytes);
  EXPECT_EQ(one.resident_bytes, other.resident_bytes);
  EXPECT_EQ(one.ranges, 0u);
  EXPECT_EQ(other.ranges, 0u);
}

struct Operation {
  const char* name;
  std::function<Result<void>(Fixture&)> run;
  bool fills = false;       // may end half-way, with what is filled filled
  std::uint64_t window = 0; // of the address space
};

template <class T> Result<void> outcome(Result<T> result) {
  if (!result) return forward(result);
  return {};
}

Result<void> map(Fixture& fixture, MapRequest request) {
  request.backing = fixture.world.backing.get();
  return outcome(fixture.world.mm.map(request));
}

Operation map_at(const char* name, std::uint64_t page, std::uint64_t count, std::uint64_t pgoff,
                 bool replace, std::uint64_t window = 0) {
  return {name,
          [=](Fixture& f) {
            return map(f, {.address = f.at(page),
                           .replace = replace,
                           .length = count << page_shift,
                           .pgoff = pgoff});
          },
          false, window};
}

Operation map_anywhere(const char* name, std::size_t alignment, std::uint64_t window) {
  return {name,
          [=](Fixture& f) {
            return map(f, {.length = 4 * page_size, .pgoff = 40, .alignment = alignment});
          },
          false, window};
}

Operation unmap(const char* name, std::uint64_t page, std::uint64_t count,
                std::uint64_t window = 0) {
  return {name, [=](Fixture& f) { return f.world.mm.unmap(f.at(page), count << page_shift); },
          false, window};
}

Operation protect(const char* name, std::uint64_t page, std::uint64_t count, std::uint32_t flags) {
  return {name,
          [=](Fixture& f) { return f.world.mm.protect(f.at(page), count << page_shift, flags); }};
}

Operation move(const char* name, std::uint64_t page, std::uint64_t old_count,
               std::uint64_t new_count, bool may_move, std::optional<std::uint64_t> to,
               bool fills = false, std::uint64_t window = 0) {
  return {name,
          [=](Fixture& f) {
            MoveRequest request{.address = f.at(page),
                                .old_length = old_count << page_shift,
                                .new_length = new_count << page_shift,
                                .may_move = may_move};
            if (to) request.to = f.at(*to);
            return outcome(f.world.mm.move(request));
          },
          fills, window};
}

Operation advise(const char* name, std::uint64_t page, std::uint64_t count, Advice advice) {
  return {name,
          [=](Fixture& f) { return f.world.mm.advise(f.at(page), count << page_shift, advice); },
          advice == Advice::willneed || advice == Advice::populate};
}

constexpr std::uint64_t window = std::uint64_t(1) << 30;

const Operation operations[] = {
    map_anywhere("map_anywhere", page_size, 0),
    map_anywhere("map_aligned", std::size_t(1) << 21, 0),
    map_anywhere("map_in_window", page_size, window),
    map_at("map_fixed", 40, 4, 40, false),
    map_at("map_fixed_in_window", 40, 4, 40, false, window),
    map_at("map_merging", 12, 2, 14, false),
    map_at("map_replacing_parts_and_holes", 4, 14, 40, true),
    map_at("map_replacing_parts_in_window", 4, 14, 40, true, window),
    map_at("map_replacing_locked", 25, 2, 40, true),
    unmap("unmap_middle", 2, 2),
    unmap("unmap_two_that_touch", 2, 8),
    unmap("unmap_parts_of_many", 3, 13),
    unmap("unmap_all", 0, 30),
    unmap("unmap_locked", 25, 2),
    unmap("unmap_in_window", 3, 13, window),
    protect("protect_part", 2, 2, vm_read),
    protect("protect_parts_of_two", 2, 8, vm_none),
    protect("protect_locked", 25, 2, vm_read),
    move("shrink", 0, 6, 2, false, {}),
    move("shrink_over_vmas", 0, 12, 3, false, {}),
    move("grow_in_place", 14, 6, 9, false, {}),
    move("grow_by_moving", 0, 6, 8, true, {}),
    move("grow_by_moving_in_window", 0, 6, 8, true, {}, false, window),
    move("grow_locked", 24, 4, 6, false, {}, true),
    move("move_to_a_free_place", 0, 6, 6, true, 40),
    move("move_in_window", 0, 6, 6, true, 40, false, window),
    move("move_onto_vmas", 1, 4, 4, true, 11),
    move("move_two_vmas_onto_a_part", 2, 8, 8, true, 15),
    move("move_and_shrink", 0, 12, 5, true, 40),
    move("move_and_grow", 0, 6, 8, true, 40),
    move("move_and_grow_onto_vmas", 6, 6, 8, true, 16),
    move("move_locked", 25, 2, 2, true, 40),
    {"migrate",
     [](Fixture& f) {
       return f.world.mm.migrate({.address = f.at(2), .length = 2 * page_size, .pgoff = 40});
     }},
    {"migrate_of_several_vmas",
     [](Fixture& f) {
       return f.world.mm.migrate({.address = f.at(3), .length = 6 * page_size, .pgoff = 40});
     }},
    {"migrate_of_what_is_locked",
     [](Fixture& f) {
       return f.world.mm.migrate({.address = f.at(25), .length = 2 * page_size, .pgoff = 48});
     }},
    {"lock", [](Fixture& f) { return f.world.mm.lock(f.at(2), 8 * page_size); }, true},
    {"unlock", [](Fixture& f) { return f.world.mm.unlock(f.at(25), 2 * page_size); }},
    {"reclaim", [](Fixture& f) { return outcome(f.world.mm.reclaim(f.at(6), 3 * page_size)); }},
    {"reclaim_of_many",
     [](Fixture& f) { return outcome(f.world.mm.reclaim(f.at(0), 28 * page_size)); }, true},
    {"track_writes",
     [](Fixture& f) { return outcome(f.world.mm.track_writes(f.at(6), 3 * page_size)); }, true},
    advise("dontneed", 2, 8, Advice::dontneed),
    advise("remove", 2, 8, Advice::remove),
    advise("pageout", 2, 8, Advice::pageout),
    advise("cold", 2, 8, Advice::cold),
    advise("willneed", 2, 8, Advice::willneed),
    advise("populate", 2, 8, Advice::populate),
};

struct Source {
  const char* name;
  std::function<unsigned(Fixture&, unsigned)> arm; // 0 switches it off; returns what was left
};

const Source sources[] = {
    {"host_call", [](Fixture&, unsigned n) { return host::fail_call(n, ENOMEM); }},
    {"allocation", [](Fixture&, unsigned n) { return fail_allocation(n); }},
    {"operator_new", [](Fixture&, unsigned n) { return testing::fail_new(n); }},
    {"guard", [](Fixture& f, unsigned n) { return std::exchange(f.guard.countdown, n); }},
};

/// Takes all free VMAs, so that the next one needs a slab.
class DrainedCaches {
 public:
  DrainedCaches() {
#define SLAT_DRAIN(Design) drain<Design::Vma>();
    SLAT_FOR_EACH_DESIGN(SLAT_DRAIN)
#undef SLAT_DRAIN
  }

  ~DrainedCaches() {
    for (const auto& give_back : taken_) give_back();
  }

  DrainedCaches(const DrainedCaches&) = delete;
  DrainedCaches& operator=(const DrainedCaches&) = delete;

 private:
  template <class Vma> void drain() {
    for (;;) {
      fail_allocation(1);
      Vma* const vma = vma_cache<Vma>().get();
      fail_allocation(0);
      if (vma == nullptr) return;
      taken_.push_back([vma] { vma_cache<Vma>().put(vma); });
    }
  }

  std::vector<std::function<void()>> taken_;
};

struct FailureSweep : ::testing::TestWithParam<std::tuple<Operation, Source>> {};

TEST_P(FailureSweep, is_all_or_nothing) {
  const auto& [operation, source] = GetParam();
  if (source.name == std::string("operator_new") && !testing::fail_new_works())
    GTEST_SKIP() << "a sanitizer keeps its own operator new";
  State done;
  {
    Fixture fixture(operation.window); // and what is made once is made now: threads, say
    const auto result = operation.run(fixture);
    ASSERT_TRUE(result) << testing::why(result);
    done = fixture.state();
    testing::expect_views_agree(fixture.world);
    fixture.expect_alive();
  }
  unsigned failures = 0;
  for (unsigned n = 1;; ++n) {
    SCOPED_TRACE("failure " + std::to_string(n));
    ASSERT_LT(n, 300u) << "it never succeeds";
    Fixture fixture(operation.window);
    const DrainedCaches drained;
    const State before = fixture.state();
    const std::size_t live = testing::settled_vmas(fixture.world.mm);
    const std::uint64_t reserved = testing::reserved_bytes();
    source.arm(fixture, n);
    const auto result = operation.run(fixture);
    if (source.arm(fixture, 0) != 0) {
      EXPECT_TRUE(result) << testing::why(result);
      break;
    }
    ++failures;
    State after = fixture.state();
    if (result) { // it can do without: a hint, or memory that the host does not take back
      if (operation.window == 0) { // else the stretch is elsewhere; and "anywhere" always is
        EXPECT_EQ(after.vmas.size(), done.vmas.size());
      }
      EXPECT_EQ(after.mapped_bytes, done.mapped_bytes);
      EXPECT_EQ(after.mapped, done.mapped);
      if (!operation.fills) {
        EXPECT_EQ(after.data, done.data);
        EXPECT_EQ(after.words, done.words);
        EXPECT_EQ(after.resident_bytes, done.resident_bytes);
      }
    } else {
      if (operation.fills) {
        after.words = before.words;
        after.data = before.data;
        after.resident_bytes = before.resident_bytes;
      }
      expect_same(before, after);
      EXPECT_EQ(before.reserved_here, after.reserved_here);
      if (!testing::sanitized) {
        EXPECT_EQ(testing::reserved_bytes(), reserved) << "address space is lost";
      }
      EXPECT_EQ(testing::settled_vmas(fixture.world.mm), live);
      fixture.expect_alive();
      const auto again = operation.run(fixture);
      EXPECT_TRUE(again) << testing::why(again);
    }
    testing::expect_views_agree(fixture.world);
    fixture.expect_alive();
    if (HasFailure()) break;
  }
  RecordProperty("failures", int(failures));
  // Every operation calls the host, but for those that only fill, or ask the guard.
  if (source.name == std::string("host_call") && !operation.fills) {
    EXPECT_GT(failures, 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(Every, FailureSweep,
                         ::testing::Combine(::testing::ValuesIn(operations),
                                            ::testing::ValuesIn(sources)),
                         [](const auto& tested) {
                           return std::string(std::get<0>(tested.param).name) + "_" +
                                  std::get<1>(tested.param).name;
                         });

void PrintTo(const Operation& operation, std::ostream* out) {
  *out << operation.name;
}

void PrintTo(const Source& source, std::ostream* out) {
  *out << source.name;
}

TEST(Failure, I18_what_is_taken_back_is_taken_back_inside_the_range) {
  struct Watch final : ViewGuard {
    Result<void> guard(std::uintptr_t, std::size_t) override {
      ranges.push_back(mm->notifiers().sequence().count());
      if (fail_next) {
        fail_next = false;
        return fail(Errc::os_failed, EBUSY, "the guard fails");
      }
      return {};
    }

    Result<void> write_protect(std::uintptr_t, std::size_t, bool) override { return {}; }

    AddressSpace* mm = nullptr;
    bool fail_next = false;
    std::vector<std::uint64_t> ranges;
  } watch;

  World world(16, false, {.guard = &watch});
  watch.mm = &world.mm;
  const std::uintptr_t base = testing::free_addresses(16);
  world.map(0, 4, base);
  world.touch(base, 4);
  watch.ranges.clear();
  watch.fail_next = true;
  EXPECT_FALSE(world.mm.move({.address = base,
                              .old_length = 4 * page_size,
                              .new_length = 4 * page_size,
                              .to = base + 8 * page_size}));
  EXPECT_EQ(watch.ranges, (std::vector<std::uint64_t>{1, 1})) << "there, and back";
  watch.ranges.clear();
  watch.fail_next = true;
  EXPECT_FALSE(world.mm.map({.address = base + 2 * page_size,
                             .replace = true,
                             .length = 4 * page_size,
                             .backing = world.backing.get(),
                             .pgoff = 8}));
  EXPECT_EQ(watch.ranges, (std::vector<std::uint64_t>{1, 1}));
  testing::expect_views_agree(world);
}

TEST(Failure, I38_memory_that_the_host_does_not_take_back_is_zeroed) {
  World world(8);
  const std::uintptr_t at = world.map(0, 4);
  world.touch(at, 4);
  host::fail_call(2, EIO); // the zap, then the punch
  EXPECT_TRUE(world.mm.advise(at, 2 * page_size, Advice::remove));
  EXPECT_EQ(host::fail_call(0, 0), 0u);
  EXPECT_EQ(world.backing->word(0).read().raw(), 0u);
  EXPECT_EQ(testing::byte_at(*world.backing, 0), std::byte(0)) << "not what the guest gave up";
  EXPECT_EQ(testing::byte_at(*world.backing, 1, page_size - 1), std::byte(0));
  EXPECT_EQ(world.count(Counter::unfreed_pages), 2u);
  EXPECT_EQ(world.mm.usage().resident_bytes, 2 * page_size);
}

TEST(Failure, address_space_that_cannot_be_made_leaves_no_window_behind) {
  if (!testing::fail_new_works()) GTEST_SKIP() << "a sanitizer keeps its own operator new";
  Counters counters;
  const std::uint64_t reserved = testing::reserved_bytes();
  unsigned failures = 0;
  for (unsigned n = 1;; ++n) {
    testing::fail_new(n);
    auto mm = AddressSpace::create(
        {.vma_lock = testing::design_under_test(), .window = std::uint64_t(1) << 30}, counters);
    if (testing::fail_new(0) != 0) break;
    ++failures;
    ASSERT_FALSE(mm);
    EXPECT_EQ(mm.error().code, Errc::no_memory);
    if (!testing::sanitized) {
      EXPECT_EQ(testing::reserved_bytes(), reserved);
    }
  }
  EXPECT_GT(failures, 0u);
}

} // namespace
} // namespace slat::mmu
