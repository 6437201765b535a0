// Address spaces that exchange VMA objects through one cache at a high rate, while readers lock VMAs
// under RCU in all of them (I01, I03, I05). A third address space is made and destroyed over and over:
// readers of the first two then hold objects of an mm that is on its way out.
#include "mmu/address_space.hpp"
#include "mmu/rcu.hpp"
#include "mmu/zero_source.hpp"
#include "torture.hpp"

#include <array>
#include <cstdlib>
#include <thread>

using namespace slat;

namespace {

constexpr std::uint64_t pages = 64;

mmu::BackingRef make_backing(const char* name) {
  auto created =
      mmu::Backing::create(name, pages << mmu::page_shift, std::make_unique<mmu::ZeroSource>());
  if (!created) {
    fmt::print(stderr, "{}\n", created.error().message);
    std::exit(2);
  }
  return mmu::BackingRef(*created);
}

struct Space {
  Space(mmu::VmaLockDesign design, mmu::Counters& counters, const char* name,
        std::uintptr_t where_to)
      : backing(make_backing(name)), owner(torture::make_mm(design, counters)), base(where_to) {
    auto where =
        mm.map({.address = base, .length = pages << mmu::page_shift, .backing = backing.get()});
    if (!where) {
      fmt::print(stderr, "{}\n", where.error().message);
      std::exit(2);
    }
  }

  /// Many lookups in a row: what matters happens to a reader that is preempted between finding a VMA
  /// and counting in it, so that is where it should be most of the time.
  void look_up(torture::Worker& worker) {
    std::uint64_t locked = 0;
    constexpr std::uint64_t rounds = 256;
    for (std::uint64_t i = 0; i < rounds; ++i) {
      const std::uint64_t page = worker.below(pages);
      const std::uintptr_t at = base + (page << mmu::page_shift);
      const mmu::Srcu::ReadGuard section(mm.fault_srcu());
      const mmu::VmaTicket ticket =
          i == 0 && worker.one_in(4) ? mm.lock_vma_under_mm_lock(at) : mm.lock_vma_under_rcu(at);
      if (!ticket) continue;
      ++locked;
      inspect(ticket, at, page);
      if (i == 1) {
        std::this_thread::yield();
        inspect(ticket, at, page);
      }
      mm.vma_end_read(ticket);
    }
    hits.fetch_add(locked, std::memory_order_relaxed);
    misses.fetch_add(rounds - locked, std::memory_order_relaxed);
  }

  void inspect(const mmu::VmaTicket& ticket, std::uintptr_t at, std::uint64_t page) const {
    const mmu::VmaView& vma = ticket.view;
    torture::check(vma.backing == backing.get(), "locked a VMA of another mm (I01)");
    torture::check(vma.contains(at), "locked a VMA that does not contain the address (I01)");
    torture::check(vma.page_of(at) == page, "the VMA is of two lives: page {} instead of {} (I03)",
                   vma.page_of(at), page);
    if (mm.vma_lock() == mmu::VmaLockDesign::spf) return; // a speculation holds nothing still
    torture::check(mm.vma_now(ticket) == vma, "a VMA held for reading was changed (I02)");
  }

  void unmap_and_map(torture::Worker& worker) {
    const std::uint64_t first = worker.below(pages);
    const std::uint64_t count = 1 + worker.below(std::min<std::uint64_t>(8, pages - first));
    const std::uintptr_t at = base + (first << mmu::page_shift);
    auto gone = mm.unmap(at, count << mmu::page_shift);
    torture::check(gone.has_value(), "unmap: {}", gone ? "" : gone.error().message);
    auto back = mm.map({.address = at,
                        .length = count << mmu::page_shift,
                        .backing = backing.get(),
                        .pgoff = first});
    torture::check(back.has_value(), "map: {}", back ? "" : back.error().message);
    changes.fetch_add(1, std::memory_order_relaxed);
  }

  mmu::BackingRef backing;
  std::unique_ptr<mmu::AddressSpace> owner;
  mmu::AddressSpace& mm = *owner;
  const std::uintptr_t base;
  std::atomic<std::uint64_t> hits{0}, misses{0}, changes{0};
};

} // namespace

int main(int argc, char** argv) {
  torture::Torture torture("vma_recycle", argc, argv, 3);
  const mmu::VmaLockDesign design = torture.vma_lock();
  mmu::Counters counters;
  std::atomic<std::uint64_t> lives{0};
  int outcome = 0;
  const std::uintptr_t start = torture::isolated_addresses(3 * pages << mmu::page_shift);
  const auto base_of = [start](std::uintptr_t i) { return start + (i * pages << mmu::page_shift); };
  {
    Space one(design, counters, "one", base_of(0));
    Space two(design, counters, "two", base_of(1));
    const std::array<Space*, 2> spaces = {&one, &two};
    for (unsigned i = 0; i < torture.threads(); ++i)
      torture.add_worker(fmt::format("reader {}", i),
                         [&](torture::Worker& w) { spaces[w.below(2)]->look_up(w); });
    for (Space* space : spaces)
      torture.add_worker(fmt::format("writer of {}", space == &one ? "one" : "two"),
                         [space](torture::Worker& w) { space->unmap_and_map(w); });
    torture.add_worker("short lives", [&](torture::Worker& w) {
      Space three(design, counters, "three", base_of(2));
      for (int i = 0; i < 4; ++i) {
        three.unmap_and_map(w);
        three.look_up(w);
      }
      ++lives;
    });
    const auto summary = [&] {
      return fmt::format(
          "{} + {} locked, {} + {} not, {} + {} changes, {} short lives, {} VMAs out",
          one.hits.load(), two.hits.load(), one.misses.load(), two.misses.load(),
          one.changes.load(), two.changes.load(), lives.load(), mmu::live_vmas(design));
    };
    outcome = torture.run(summary, summary);
  }
  mmu::rcu::barrier();
  if (mmu::live_vmas(design) != 0) {
    fmt::print(stderr, "FAILED: {} VMAs leaked\n", mmu::live_vmas(design));
    outcome = 1;
  }
  return outcome;
}
