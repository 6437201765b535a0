// What the tests of mmu/ share: signals between threads, views of the real host mappings, and fakes
// of the interfaces that mmu/ needs from outside.
#pragma once

#include "mmu/address_space.hpp"
#include "mmu/fault.hpp"
#include "mmu/translation_cache.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace slat::mmu::testing {

#ifdef SLAT_CHECKED
inline constexpr bool checked_build = true;
#else
inline constexpr bool checked_build = false;
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool sanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif
#else
inline constexpr bool sanitized = false;
#endif

/// Closed until open(); wait() fails the process rather than hang for ever.
class Latch {
 public:
  void open();
  void wait();
  [[nodiscard]] bool is_open();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

/// Polls until `condition` holds; false after 20 s.
bool eventually(const std::function<bool()>& condition);

/// True if `condition` holds now and for some 30 ms. That something does *not* happen can only be
/// shown for a time; a wrong implementation fails it nearly always, a right one never.
bool stays(const std::function<bool()>& condition);

/// The reason of a failed Result, for messages.
template <class T> std::string why(const Result<T>& result) {
  return result ? "no error" : result.error().message;
}

inline PageWord& page_word(Backing& backing, std::uint64_t page) {
  return backing.word(page);
}

/// Writes a page word or lock count behind its interface's back. Both begin with their atomic.
template <class T, class Word> std::atomic<T>& raw(Word& word) {
  static_assert(std::is_standard_layout_v<Word>);
  return reinterpret_cast<std::atomic<T>&>(word);
}

// ---- the host, as the kernel tells it

struct HostPage {
  std::uint64_t offset; // bytes into the memfd
  std::string permissions;
  bool operator==(const HostPage&) const = default;
};

/// What /proc/self/maps says of the memfd `name`, page by page, without its host view.
std::map<std::uintptr_t, HostPage> host_pages(const std::string& name, const Backing& backing);
std::size_t host_mapping_count();
std::size_t open_descriptor_count();

/// True if this process' page table has an entry for `address`.
bool host_pte_present(std::uintptr_t address);

/// The pages of mappings of the memfd `name` that the host keeps locked (mlock).
std::set<std::uintptr_t> host_locked_pages(const std::string& name);

/// Bytes of address space that this process keeps without memory behind it (PROT_NONE); of [start,
/// end) alone, if that is not empty. Of the whole process it says nothing under sanitizers, which set
/// aside and use up their own.
std::uint64_t reserved_bytes(std::uintptr_t start = 0, std::uintptr_t end = 0);

/// Pages of the memfd that are not holes.
std::uint64_t allocated_pages(const Backing& backing);

/// A byte of the memfd, without allocating a page for it.
std::byte byte_at(const Backing& backing, std::uint64_t page, std::size_t offset = 0);

// ---- fakes

inline std::byte pattern_of(std::uint64_t page) {
  return std::byte(0x40 + page % 64);
}

/// Fills page n with pattern_of(n) unless told otherwise.
class FakeSource final : public PageSource {
 public:
  explicit FakeSource(bool may_sleep = false, std::atomic<int>* released = nullptr)
      : may_sleep_(may_sleep), released_(released) {
    runs_.reserve(1024); // fill() must not throw where a test makes operator new fail
  }

  ~FakeSource() override;
  FakeSource(const FakeSource&) = delete;
  FakeSource& operator=(const FakeSource&) = delete;

  FillResult fill(Backing& backing, PageRun run) override;

  [[nodiscard]] bool may_sleep() const override { return may_sleep_; }

  [[nodiscard]] std::string_view name() const override { return "fake"; }

  /// It is not, but says so: pages may migrate. Those that are empty then are told apart by their content.
  [[nodiscard]] bool is_uniform() const override { return uniform; }

  bool uniform = false;

  /// Runs before the bytes are written; another result than `filled` ends the fill. Set before the
  /// first fault.
  std::function<FillResult(Backing&, PageRun)> before;

  [[nodiscard]] std::vector<PageRun> runs();
  [[nodiscard]] std::size_t fills_of(std::uint64_t page);

 private:
  const bool may_sleep_;
  std::atomic<int>* released_;
  std::mutex mutex_;
  std::vector<PageRun> runs_;
};

/// Installs all that it is asked to, unless told otherwise, and remembers it.
class FakeMmu final : public SecondaryMmu {
 public:
  struct Call {
    std::uintptr_t address;
    std::size_t pages;
    bool writable;
    bool operator==(const Call&) const = default;
  };

  FakeMmu() { calls_.reserve(1024); } // see FakeSource

  InstallResult install(const InstallRequest& run) override;

  /// Decides the result. Set before the first fault.
  std::function<InstallResult(const Call&)> decide;

  [[nodiscard]] std::vector<Call> calls();

 private:
  std::mutex mutex_;
  std::vector<Call> calls_;
};

/// A subscriber that remembers what it was told.
class FakeNotifier final : public Notifier {
 public:
  bool invalidate_range_start(const NotifierRange& range) override;
  void invalidate_range_end(const NotifierRange& range) override;
  bool clear_flush_young(std::uintptr_t start, std::uintptr_t end) override;
  bool clear_young(std::uintptr_t start, std::uintptr_t end) override;
  bool test_young(std::uintptr_t start, std::uintptr_t end) override;
  void release() override;

  std::function<bool(const NotifierRange&)> on_start; // set while nothing can call it
  std::function<void(const NotifierRange&)> on_end;
  std::function<void()> on_release;
  std::function<bool()> on_young;

  std::atomic<int> starts{0}; // that were accepted
  std::atomic<int> ends{0};
  std::atomic<int> refusals{0};
  std::atomic<int> releases{0};
  std::atomic<int> flush_youngs{0}, clear_youngs{0}, test_youngs{0};

  [[nodiscard]] int balance() const { return starts.load() - ends.load(); }
};

/// The design under test: SLAT_TEST_VMA_LOCK, which CTest sets to each in turn.
[[nodiscard]] VmaLockDesign design_under_test();

/// An address space of that design.
[[nodiscard]] std::unique_ptr<AddressSpace> make_mm(Counters& counters,
                                                    AddressSpaceOptions options = {});

/// An address space with what must outlive it, and one backing.
struct World {
  explicit World(std::uint64_t pages = 16, bool source_sleeps = false,
                 const AddressSpaceOptions& options = {});

  /// Maps pages of the backing; anywhere if `address` is 0.
  std::uintptr_t map(std::uint64_t pgoff, std::uint64_t pages, std::uintptr_t address = 0,
                     std::uint32_t flags = vm_read | vm_write);
  FaultOutcome fault(std::uintptr_t address, std::uint32_t access = vm_read);

  /// Faults pages in and makes real page-table entries for them in the guest view, which is readable.
  void touch(std::uintptr_t address, std::uint64_t pages);

  std::uint64_t count(Counter counter) { return counters.sum(counter); }

  std::string name;
  Counters counters;
  FakeMmu mmu;
  std::atomic<int> released{0};
  FakeSource* source = nullptr; // owned by the backing
  BackingRef backing;
  std::unique_ptr<AddressSpace> mm_owner;
  AddressSpace& mm;
};

/// live_vmas() of its design, once what this address space has given up is gone: under spf a VMA lives
/// until a grace period has passed.
inline std::size_t settled_vmas(AddressSpace& mm) {
  mm.fault_srcu().barrier();
  return live_vmas(mm.vma_lock());
}

/// What the VMAs say and what the kernel says, page by page, are the same; each VMA is a part of one
/// host mapping; and no two VMAs could be one.
void expect_views_agree(World& world);

/// A translation cache that is registered with its address space while it lives.
class Translations {
 public:
  explicit Translations(AddressSpace& mm) : mm_(&mm), cache_(new TranslationCache(mm)) {
    EXPECT_TRUE(mm.notifiers().register_notifier(*cache_));
  }

  ~Translations() { mm_->notifiers().unregister_notifier(*cache_); }

  Translations(const Translations&) = delete;
  Translations& operator=(const Translations&) = delete;

  TranslationCache* operator->() const { return cache_.get(); }

  TranslationCache& operator*() const { return *cache_; }

 private:
  AddressSpace* mm_;
  std::unique_ptr<TranslationCache> cache_;
};

/// A stretch of address space with nothing in it, to map at fixed addresses.
std::uintptr_t free_addresses(std::uint64_t pages);

} // namespace slat::mmu::testing
