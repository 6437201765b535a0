// Backing: the memory behind a region of guest RAM: a memfd, its host view, its page words and its
// page source; and a store for pages that are reclaimed, if it has one.
//
// Page words belong to the backing, not to an address: a VMA that moves takes its pages' state
// along for free. An empty page (state none) is always a hole in the memfd, but for a shared file,
// where it is what the file has there.
#pragma once

#include "mmu/host.hpp"
#include "mmu/page_source.hpp"
#include "mmu/page_store.hpp"
#include "mmu/page_word.hpp"
#include "mmu/srcu.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace slat::mmu {

class Backing {
 public:
  /// A memfd of `bytes` (a multiple of the page size, not 0). The caller holds the first reference.
  static Result<Backing*> create(const std::string& name, std::uint64_t bytes,
                                 std::unique_ptr<PageSource> source);

  /// The file itself as memory: a regular file, or a memfd of somebody else's, open for reading and
  /// writing. What is in it is the pages' content; unmapping keeps it, and only Advice::remove punches
  /// it out. The last page may be partial; what is beyond the end of the file is lost. Takes the
  /// descriptor in any case. Whoever else has the file must not shorten it: a page beyond its end that
  /// is filled afterwards is poisoned, but one that was filled before is a SIGBUS.
  static Result<Backing*> create_shared(const std::string& name, int fd);

  /// References: one for every VMA that maps the backing, and its makers'. The caller has one, so
  /// it is alive.
  void get() {
    references_.fetch_add(1, std::memory_order_relaxed);
  } // the caller's reference orders it

  /// Frees at once if it was the last: only where nobody can be inside a fault on this backing.
  void put();
  /// The same, but if it was the last it is freed after a grace period of `srcu`, by another
  /// thread: for faults that still read from it (I16). Does not wait.
  void put_after(Srcu& srcu);

  /// Pages of the run become mapped: a page is mapped once at most, or unmapping it here would free it
  /// there. Errc::exists if one is mapped already, in any address space. Allocates nothing.
  Result<void> reserve_pages(PageRun run) SLAT_EXCLUDES(mapped_mutex_);
  void unreserve_pages(PageRun run) SLAT_EXCLUDES(mapped_mutex_);

  /// Pages with content in the host: filled and not given back since.
  [[nodiscard]] std::uint64_t resident_pages() const {
    return resident_.load(std::memory_order_relaxed); // a sum
  }

  void add_resident(std::int64_t pages) {
    resident_.fetch_add(std::uint64_t(pages), std::memory_order_relaxed); // a sum
  }

  [[nodiscard]] int fd() const { return fd_; }

  /// Unmapping its pages leaves them as they are in the file.
  [[nodiscard]] bool keeps_data() const { return keeps_data_; }

  [[nodiscard]] std::uint64_t pages() const { return pages_; }

  [[nodiscard]] PageSource& source() const { return *source_; }

  /// Where AddressSpace::reclaim() puts pages; nullptr: they stay. Outlives the backing, which gives every
  /// slot back. Once, before the first reclaim. A shared file (keeps_data()) has none.
  void set_store(PageStore& store) {
    SLAT_CHECK(!keeps_data_ && store_ == nullptr,
               "a backing is given a second store, or a shared file one");
    store_ = &store;
  }

  [[nodiscard]] PageStore* store() const { return store_; }

  /// The page's state. `page` < pages().
  [[nodiscard]] PageWord& word(std::uint64_t page) const {
    reads_shared(this);
    SLAT_ASSERT(page < pages_, "page offset beyond the backing");
    return words_[page];
  }

  /// The page's bytes in the view that nothing guards. `page` < pages().
  [[nodiscard]] std::byte* host_view(std::uint64_t page) const {
    return host_view_ + (page << page_shift);
  }

  Backing(const Backing&) = delete;
  Backing& operator=(const Backing&) = delete;

 private:
  Backing() = default;
  ~Backing();

  struct Retire : DeferredCall {
    Backing* backing;
  };

  Retire retire_{};
  /// With pages_, fd_ and source_ set: the host view and the words.
  Result<void> map_in(const std::string& name);

  int fd_ = -1;
  bool keeps_data_ = false;
  std::uint64_t pages_ = 0;
  std::byte* host_view_ = nullptr;
  PageWord* words_ = nullptr;
  Mutex mapped_mutex_;
  std::uint64_t* mapped_ SLAT_GUARDED_BY(mapped_mutex_) = nullptr; // a bit for each page
  std::atomic<std::uint64_t> resident_{0};
  std::unique_ptr<PageSource> source_;
  PageStore* store_ = nullptr;
  StdAtomics::atomic<std::uint64_t> references_{1};
};

/// A reference as an object, for makers.
struct BackingPut {
  void operator()(Backing* backing) const { backing->put(); }
};

using BackingRef = std::unique_ptr<Backing, BackingPut>;

} // namespace slat::mmu
