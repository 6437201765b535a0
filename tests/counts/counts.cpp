// The paths whose instructions are counted. Under `valgrind --tool=callgrind --instr-atstart=no
// --collect-atstart=no` every path leaves one dump, named by its client request, and one line on
// standard output, "NAME OPERATIONS"; check.sh divides. Without valgrind it only runs them.
// Nothing here is timed, and one thread does all that is counted: what the reclaimer's thread does
// is waited for outside. Keys are a fixed random sequence.
#include "mmu/address_space.hpp"
#include "mmu/address_space_of.hpp"
#include "mmu/fault.hpp"
#include "mmu/rcu.hpp"
#include "mmu/srcu.hpp"
#include "mmu/stage2/ept_format.hpp"
#include "mmu/stage2/stage2_mmu.hpp"
#include "mmu/stage2/stage2_zap.hpp"
#include "mmu/vma_lock/all_designs.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <gnu/libc-version.h>
#include <memory>
#include <random>
#include <string>
#include <valgrind/callgrind.h>
#include <vector>

namespace {

using namespace slat::mmu;

constexpr unsigned operations = 2000;

/// Keeps a result alive, so that what made it is not optimised away.
template <class T> void keep(const T& value) {
  asm volatile("" : : "r"(&value) : "memory");
}

/// Counts `count` calls of `operation(i)`, after as many that warm caches of objects up.
template <class Operation>
void count(const std::string& name, Operation operation, unsigned count = operations) {
  for (unsigned i = 0; i < count; ++i) operation(i);
  CALLGRIND_TOGGLE_COLLECT;
  for (unsigned i = 0; i < count; ++i) operation(i);
  CALLGRIND_TOGGLE_COLLECT;
  CALLGRIND_DUMP_STATS_AT(name.c_str());
  std::printf("%s %u\n", name.c_str(), count);
}

/// The same for what leaves work behind: `settle()` runs after every operation, and is not counted.
template <class Operation, class Settle>
void count_and_settle(const std::string& name, Operation operation, Settle settle,
                      unsigned count = 200) {
  for (unsigned i = 0; i < count; ++i) operation(i), settle();
  for (unsigned i = 0; i < count; ++i) {
    CALLGRIND_TOGGLE_COLLECT;
    operation(i);
    CALLGRIND_TOGGLE_COLLECT;
    settle();
  }
  CALLGRIND_DUMP_STATS_AT(name.c_str());
  std::printf("%s %u\n", name.c_str(), count);
}

template <class T> T must(Result<T> result) {
  if (result) return std::move(*result);
  std::fprintf(stderr, "counts: %s\n", result.error().message.c_str());
  std::exit(1);
}

/// Content is nobody's business here.
class NoContent final : public PageSource {
 public:
  FillResult fill(Backing&, PageRun) override { return FillResult::filled; }

  [[nodiscard]] bool may_sleep() const override { return false; }

  [[nodiscard]] std::string_view name() const override { return "none"; }
};

struct NowhereMmu final : SecondaryMmu {
  InstallResult install(const InstallRequest& run) override {
    return {InstallStatus::installed, run.pages};
  }
};

struct Subscriber final : Notifier {
  bool invalidate_range_start(const NotifierRange&) override { return true; }

  void invalidate_range_end(const NotifierRange&) override {}
};

struct NoTlb final : TlbFlusher {
  void flush_range(std::uintptr_t, std::uintptr_t) override {}
};

Backing* backing_of(std::uint64_t pages) {
  return must(Backing::create("counts", pages * page_size, std::make_unique<NoContent>()));
}

/// `vmas` mappings of one page that do not merge, all present.
template <class D> struct Space {
  explicit Space(unsigned vmas)
      : backing(backing_of(2 * vmas)),
        owner(must(AddressSpace::create({.vma_lock = D::kind,
                                         .vma_limit = std::size_t(1) << 30,
                                         .window = (4 * vmas + 4096) * page_size},
                                        counters))),
        mm(static_cast<AddressSpaceOf<D>&>(*owner)) {
    std::vector<std::uintptr_t> addresses;
    for (unsigned i = 0; i < vmas; ++i) {
      addresses.push_back(
          must(mm.map({.length = page_size, .backing = backing.get(), .pgoff = 2 * i})));
      (void)handle_mm_fault(mm, {.address = addresses.back(), .mmu = &nowhere});
    }
    std::mt19937_64 random(1);
    for (std::uintptr_t& key : keys) key = addresses[random() % vmas];
    settle();
  }

  /// Nothing is left to the reclaimers' threads.
  void settle() {
    mm.fault_srcu().barrier();
    rcu::barrier();
  }

  Counters counters;
  NowhereMmu nowhere;
  BackingRef backing;
  std::unique_ptr<AddressSpace> owner;
  AddressSpaceOf<D>& mm;
  std::uintptr_t keys[operations];
};

/// The protection under which a design's tree may be walked.
template <class D> struct WalkSection {
  explicit WalkSection(Space<D>& space) : srcu(space.mm.fault_srcu()) {}

  Srcu::ReadGuard srcu;
  rcu::ReadGuard rcu;
};

template <> struct WalkSection<MmapLock> {
  explicit WalkSection(Space<MmapLock>& space) : guard(space.mm.design().mm_lock) {}

  MmReadGuard guard;
};

template <class D> void count_walks(unsigned vmas, const char* size) {
  const std::string suffix = std::string("/") + size + "/" + std::string(to_string(D::kind));
  Space<D> space(vmas);
  {
    const WalkSection<D> section(space);
    count("lookup" + suffix, [&](unsigned i) { keep(space.mm.design().tree.find(space.keys[i])); });
  }
  {
    const Srcu::ReadGuard section(space.mm.fault_srcu());
    count("lock" + suffix, [&](unsigned i) {
      const VmaTicket ticket = space.mm.design().begin(space.keys[i]);
      keep(ticket);
      space.mm.design().end(ticket);
    });
  }
}

template <class D> void count_operations() {
  const std::string suffix = "/" + std::string(to_string(D::kind));
  Space<D> space(1000);
  count("fault-present" + suffix, [&](unsigned i) {
    keep(handle_mm_fault(space.mm, {.address = space.keys[i], .mmu = &space.nowhere}));
  });
  const BackingRef scratch(backing_of(16));
  count_and_settle(
      "map-unmap-16-pages" + suffix,
      [&](unsigned) {
        const auto at = space.mm.map({.length = 16 * page_size, .backing = scratch.get()});
        keep(space.mm.unmap(*at, 16 * page_size));
      },
      [&] { space.settle(); });
}

void count_parts() {
  Srcu srcu;
  count("srcu-section", [&](unsigned) { const Srcu::ReadGuard section(srcu); });
  count("rcu-section", [&](unsigned) {
    const rcu::ReadGuard section;
    asm volatile("" : : : "memory");
  });
  TypeStableCache<PerVmaRefcount::Vma> cache;
  count("vma-cache-get-put", [&](unsigned) {
    PerVmaRefcount::Vma* const vma = cache.get();
    keep(vma);
    cache.put(vma);
  });
  Counters counters;
  NotifierChain chain(counters);
  Subscriber subscriber;
  if (!chain.register_notifier(subscriber)) std::exit(1);
  // Reads the clock twice, which is a system call under valgrind: not counted.
  count("notifier-start-end/1-subscriber",
        [&](unsigned) { keep(chain.invalidate_range({0, page_size, InvalidateEvent::reclaim})); });
  chain.unregister_notifier(subscriber);
}

void count_stage2() {
  using Table = Stage2Table<stage2::EptFormat>;
  constexpr std::uint64_t pages = 512;
  NoTlb flusher;
  InvalidateSeq seq;
  const auto table = must(Table::create({.limit = pages * page_size}, flusher));
  const auto map = [&](std::uint64_t n) {
    keep(table->map({.address = n * page_size,
                     .host = (std::uint64_t(1) << 40) + n * page_size,
                     .hva = n * page_size,
                     .allowed = {true, true, true},
                     .write = true,
                     .max_level = 1},
                    seq, seq.snapshot()));
  };
  for (std::uint64_t n = 0; n < pages; ++n) map(n);
  table->zap_range(0, pages * page_size);
  // Outside, page 0 stays mapped, so that the tables stay too.
  map(0);
  const auto forget = [&] { table->zap_range(page_size, pages * page_size); };
  count_and_settle("stage2-install", [&](unsigned i) { map(1 + i % (pages - 1)); }, forget, 500);
  count("stage2-install-present", [&](unsigned) { map(0); });
}

} // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--compiler") == 0) {
#ifdef __clang__
    std::printf("clang %s, glibc %s\n", __clang_version__, gnu_get_libc_version());
#else
    std::printf("g++ %s, glibc %s\n", __VERSION__, gnu_get_libc_version());
#endif
    return 0;
  }
  CALLGRIND_START_INSTRUMENTATION;
  count_parts();
  count_stage2();
#define SLAT_COUNT(Design)                                                                         \
  count_walks<Design>(16, "16-vmas");                                                              \
  count_walks<Design>(10'000, "10000-vmas");                                                       \
  count_operations<Design>();
  SLAT_FOR_EACH_DESIGN(SLAT_COUNT)
#undef SLAT_COUNT
  CALLGRIND_STOP_INSTRUMENTATION;
  return 0;
}
