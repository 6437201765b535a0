// A stage-2 table under everything at once: vCPUs with TLBs that access and fault, zaps, protects, splits,
// collapses, aging, new roots, and a reader of the dirty log that copies what it tells of.
//
// A page's host address holds a generation, which an invalidator changes after its zap. A vCPU that
// gets another generation, from the table or from its TLB, has made a stale access (I20, I36). Each write
// counts the page up; a copy that lags behind what was there before a reading has missed one (I31, I32).
// The seed decides on the format of entries and on how writes are found out.
#include "mmu/stage2/arm64_format.hpp"
#include "mmu/stage2/checker.hpp"
#include "mmu/stage2/ept_format.hpp"
#include "mmu/stage2/stage2_reshape.hpp"
#include "mmu/stage2/vcpu_flush.hpp"
#include "torture.hpp"

#include <array>
#include <mutex>

using namespace slat;
using torture::check;

namespace {

namespace stage2 = mmu::stage2;
using stage2::MapOutcome;

constexpr std::uint64_t page = 4096;
constexpr std::uint64_t block_pages = 512;
constexpr std::uint64_t blocks = 3;
constexpr std::uint64_t pages = blocks * block_pages;
constexpr unsigned vcpu_limit = 32;

constexpr std::uint64_t host_of(std::uint64_t generation, std::uint64_t n) {
  return generation << 24 | n * page;
}

/// Its own thread's, but for the requests.
struct Vcpu {
  struct Cached {
    std::uint64_t host = 0;
    bool writable = false; // and marked dirty: writes pass
    std::uint64_t filled = 0;
  };

  [[nodiscard]] Cached& look_up(std::uint64_t n) {
    if (tlb[n].filled != drops) tlb[n] = {.filled = drops};
    return tlb[n];
  }

  [[nodiscard]] auto drop() {
    return [this] { ++drops; };
  }

  stage2::VcpuFlush flush;
  std::array<Cached, pages> tlb{};
  std::uint64_t drops = 1;
};

class Flusher final : public mmu::TlbFlusher {
 public:
  void flush_range(std::uintptr_t start, std::uintptr_t end) override {
    flusher_.flush_range(start, end);
    flushes.fetch_add(1, std::memory_order_relaxed);
  }

  std::array<Vcpu, vcpu_limit> vcpus;
  std::atomic<std::uint64_t> flushes{0};

 private:
  static std::vector<stage2::VcpuFlush*> all(std::array<Vcpu, vcpu_limit>& vcpus) {
    std::vector<stage2::VcpuFlush*> list;
    for (Vcpu& vcpu : vcpus) list.push_back(&vcpu.flush);
    return list;
  }

  stage2::VcpuFlusher flusher_{all(vcpus)};
};

template <class F> class Stage2Torture {
  using Table = stage2::Stage2Table<F>;

 public:
  Stage2Torture(stage2::DirtyTracking tracking)
      : owner_(std::move(*Table::create(
            {.limit = pages * page, .tracking = tracking, .entries_per_section = 100}, flusher_))),
        table_(*owner_) {
    for (auto& generation : generations_) generation = 1;
    for (auto& uniform : uniform_) uniform = 1;
  }

  void run_vcpu(torture::Worker& worker, unsigned self) {
    // Neighbours, so that blocks fill up and can collapse.
    const std::uint64_t first = worker.below(pages);
    Vcpu& vcpu = flusher_.vcpus[self];
    vcpu.flush.enter(vcpu.drop());
    for (std::uint64_t i = 0; i < 64; ++i) {
      const std::uint64_t n = (first + i % 16) % pages;
      const bool write = worker.one_in(2);
      if (!access(vcpu, n, write)) {
        vcpu.flush.leave();
        fault(n, write, worker.one_in(2)); // may wait for an invalidator, who flushes (I37)
        vcpu.flush.enter(vcpu.drop());
      }
      vcpu.flush.poll(vcpu.drop());
      if (worker.one_in(4096)) std::this_thread::yield();
    }
    vcpu.flush.leave();
  }

  void invalidate(torture::Worker& worker) {
    worker.breathe();
    const std::uint64_t block = worker.below(blocks);
    const bool whole = worker.one_in(4);
    const std::uint64_t first = block * block_pages + (whole ? 0 : worker.below(block_pages));
    const std::uint64_t count = whole ? block_pages : 1;
    seq_.begin(first * page, (first + count) * page);
    table_.zap_range(first * page, (first + count) * page,
                     worker.one_in(2) ? stage2::Tables::free : stage2::Tables::keep);
    {
      const std::lock_guard guard(change_);
      const std::uint64_t fresh = ++last_generation_;
      for (std::uint64_t n = first; n < first + count; ++n)
        generations_[n].store(fresh, std::memory_order_relaxed);
      uniform_[block].store(whole ? fresh : 0, std::memory_order_relaxed);
    }
    if (worker.one_in(4)) std::this_thread::yield();
    seq_.end(first * page, (first + count) * page);
    zaps_.fetch_add(1, std::memory_order_relaxed);
  }

  void protect(torture::Worker& worker) {
    worker.breathe();
    const std::uint64_t start = worker.below(pages) * page;
    const std::uint64_t end = std::min(start + (1 + worker.below(64)) * page, pages * page);
    seq_.begin(start, end);
    table_.protect_range(start, end);
    for (std::uint64_t at = start; at < end; at += page)
      if (const auto found = table_.translate(at))
        check(!found->allowed.write, "page {} is writable in a range that protects it", at / page);
    seq_.end(start, end);
  }

  void split(torture::Worker& worker) {
    worker.breathe();
    const std::uint64_t at = worker.below(pages) * page;
    check(table_.split_range(at, at + page).has_value(), "no memory for a split");
    splits_.fetch_add(1, std::memory_order_relaxed);
  }

  void collapse(torture::Worker& worker) {
    if (worker.one_in(4)) worker.breathe();
    const std::uint64_t at = worker.below(blocks) * block_pages * page;
    if (table_.collapse(at, at, 2, seq_) == stage2::CollapseOutcome::collapsed)
      collapses_.fetch_add(1, std::memory_order_relaxed);
  }

  void age(torture::Worker& worker) {
    worker.breathe();
    const std::uint64_t start = worker.below(pages) * page;
    static constexpr stage2::Age kinds[] = {stage2::Age::test, stage2::Age::clear,
                                            stage2::Age::clear_and_flush};
    (void)table_.age(start, pages * page, kinds[worker.below(3)]);
  }

  void new_root(torture::Worker& worker) {
    std::this_thread::sleep_for(std::chrono::milliseconds(worker.below(20)));
    check(table_.invalidate_root().has_value(), "no memory for a root");
  }

  void copy(torture::Worker& worker) {
    worker.breathe();
    const std::uint64_t first = worker.below(pages / 64) * 64;
    const std::uint64_t last = first + 64 * (1 + worker.below((pages - first) / 64));
    read_log(first, last);
  }

  void finish() {
    read_log(0, pages);
    for (std::uint64_t n = 0; n < pages; ++n)
      check(copies_[n] == data_[n].load(), "page {} was written {} times, copied at {} (I31)", n,
            data_[n].load(), copies_[n]);
    auto counts = stage2::check_table(table_);
    check(counts.has_value(), "{}", counts ? "" : counts.error().message);
    check(zaps_.load() < 1000 || accesses_.load() > 0, "nobody ever got at a page");
  }

  [[nodiscard]] std::string summary() const {
    return fmt::format("{} accesses ({} by the TLB), {} faults ({} huge, {} too late), {} zaps, {} "
                       "splits, {} collapses, {} pages copied, {} flushes",
                       accesses_.load(), hits_.load(), faults_.load(), huge_.load(), late_.load(),
                       zaps_.load(), splits_.load(), collapses_.load(), copied_.load(),
                       flusher_.flushes.load());
  }

 private:
  /// In guest mode. False: a fault.
  bool access(Vcpu& vcpu, std::uint64_t n, bool write) {
    Vcpu::Cached& cached = vcpu.look_up(n);
    if (cached.host == 0 || (write && !cached.writable)) {
      const auto found = table_.access(n * page, write);
      if (!found) return false;
      check(!write || found->dirty, "page {} is written and not dirty", n);
      cached = {found->host, found->allowed.write && found->dirty, vcpu.drops};
    } else {
      hits_.fetch_add(1, std::memory_order_relaxed);
    }
    const std::uint64_t now = generations_[n].load(std::memory_order_relaxed);
    check(cached.host == host_of(now, n), "page {} is at {:#x}, not {:#x} (I20, I36)", n,
          cached.host, host_of(now, n));
    if (write) data_[n].fetch_add(1, std::memory_order_release); // pairs with read_log()
    accesses_.fetch_add(1, std::memory_order_relaxed);
    return true;
  }

  void fault(std::uint64_t n, bool write, bool huge) {
    const std::uint64_t snapshot = seq_.snapshot();
    const std::uint64_t uniform = uniform_[n / block_pages].load(std::memory_order_relaxed);
    const std::uint64_t generation = generations_[n].load(std::memory_order_relaxed);
    if (uniform != generation) huge = false;
    const MapOutcome outcome = table_.map({.address = n * page,
                                           .host = host_of(generation, n),
                                           .hva = n * page,
                                           .allowed = {true, true, true},
                                           .write = write,
                                           .max_level = huge ? 2u : 1u},
                                          seq_, snapshot);
    faults_.fetch_add(1, std::memory_order_relaxed);
    if (outcome == MapOutcome::installed && huge) huge_.fetch_add(1, std::memory_order_relaxed);
    if (outcome == MapOutcome::moved) late_.fetch_add(1, std::memory_order_relaxed);
    if (outcome == MapOutcome::in_progress) seq_.wait(n * page, (n + 1) * page);
    check(outcome != MapOutcome::no_memory && outcome != MapOutcome::denied &&
              outcome != MapOutcome::out_of_range,
          "a fault on page {} ends in {}", n, int(outcome));
  }

  void read_log(std::uint64_t first, std::uint64_t last) {
    std::vector<std::uint64_t> before;
    for (std::uint64_t n = first; n < last; ++n)
      before.push_back(data_[n].load(std::memory_order_acquire));
    std::vector<std::uint64_t> bits((last - first) / 64);
    table_.read_dirty(first * page, last * page, bits);
    for (std::uint64_t n = first; n < last; ++n) {
      const std::uint64_t i = n - first;
      if ((bits[i / 64] >> (i % 64) & 1) != 0) {
        copies_[n] = data_[n].load(std::memory_order_acquire);
        copied_.fetch_add(1, std::memory_order_relaxed);
      }
      check(copies_[n] >= before[i],
            "page {} was written {} times before a reading, copied at {} (I32)", n, before[i],
            copies_[n]);
    }
  }

  Flusher flusher_;
  mmu::InvalidateSeq seq_{~std::uint64_t(0) - 100};
  std::unique_ptr<Table> owner_;
  Table& table_;
  std::mutex change_; // of generations
  std::uint64_t last_generation_ = 1;
  std::array<std::atomic<std::uint64_t>, pages> generations_;
  std::array<std::atomic<std::uint64_t>, blocks> uniform_; // the generation of all its pages, or 0
  std::array<std::atomic<std::uint64_t>, pages> data_{};
  std::array<std::uint64_t, pages> copies_{}; // the copier's
  std::atomic<std::uint64_t> accesses_{0}, hits_{0}, faults_{0}, huge_{0}, late_{0}, zaps_{0},
      splits_{0}, collapses_{0}, copied_{0};
};

template <class F> int run(torture::Torture& torture, stage2::DirtyTracking tracking) {
  const auto owner = std::make_unique<Stage2Torture<F>>(tracking);
  Stage2Torture<F>& table = *owner;
  for (unsigned i = 0; i < std::min(torture.threads(), vcpu_limit); ++i)
    torture.add_worker(fmt::format("vcpu {}", i),
                       [&table, i](torture::Worker& w) { table.run_vcpu(w, i); });
  for (unsigned i = 0; i < 2; ++i)
    torture.add_worker(fmt::format("invalidator {}", i),
                       [&](torture::Worker& w) { table.invalidate(w); });
  torture.add_worker("protecter", [&](torture::Worker& w) { table.protect(w); });
  torture.add_worker("splitter", [&](torture::Worker& w) { table.split(w); });
  torture.add_worker("collapser", [&](torture::Worker& w) { table.collapse(w); });
  torture.add_worker("ager", [&](torture::Worker& w) { table.age(w); });
  torture.add_worker("copier", [&](torture::Worker& w) { table.copy(w); });
  torture.add_worker("root", [&](torture::Worker& w) { table.new_root(w); });
  return torture.run([&] { return table.summary(); },
                     [&] {
                       table.finish();
                       return table.summary();
                     });
}

} // namespace

int main(int argc, char** argv) {
  torture::Torture torture("stage2", argc, argv, 3);
  const auto tracking = (torture.seed() & 1) != 0 ? stage2::DirtyTracking::dirty_bits
                                                  : stage2::DirtyTracking::write_protect;
  fmt::print("{}, {}\n", (torture.seed() & 2) != 0 ? "arm64" : "EPT",
             (torture.seed() & 1) != 0 ? "dirty bits" : "write-protect");
  return (torture.seed() & 2) != 0 ? run<stage2::Arm64Format>(torture, tracking)
                                   : run<stage2::EptFormat>(torture, tracking);
}
