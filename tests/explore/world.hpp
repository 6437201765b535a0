// What the scenarios share: an address space with one small backing at a fixed address, a page source that
// numbers its fills, and a secondary MMU that records what the guest can see.
#pragma once

#include "scenario.hpp"

#include "mmu/address_space.hpp"

#include <array>
#include <cstring>
#include <optional>

namespace slat::explore {

using namespace mmu;

/// Where the guest view of world `n` lies.
constexpr std::uintptr_t view_of(unsigned n) {
  return 0x2000'0000'0000 + (std::uintptr_t(n) << 32);
}

/// The number that a page's first bytes hold: a fill's, above the page's own.
inline std::uint64_t content(const Backing& backing, std::uint64_t page) {
  return *reinterpret_cast<volatile std::uint64_t*>(backing.host_view(page));
}

inline void set_content(const Backing& backing, std::uint64_t page, std::uint64_t value) {
  *reinterpret_cast<volatile std::uint64_t*>(backing.host_view(page)) = value;
}

/// Fills each page with a number that no fill had before.
class NumberingSource final : public PageSource {
 public:
  explicit NumberingSource(bool sleeps) : sleeps_(sleeps) {}

  [[nodiscard]] FillResult fill(Backing& backing, PageRun run) override {
    for (std::uint64_t page = run.first; page < run.first + run.count; ++page)
      set_content(backing, page, ++fills_ << 8 | page);
    return FillResult::filled;
  }

  [[nodiscard]] bool may_sleep() const override { return sleeps_; }

  /// A page that migrates takes its number along; none is filled at its second place.
  [[nodiscard]] bool is_uniform() const override { return true; }

  [[nodiscard]] std::string_view name() const override { return "numbering"; }

  [[nodiscard]] std::uint64_t fills() const { return fills_; }

 private:
  const bool sleeps_;
  std::uint64_t fills_ = 0;
};

/// What KVM's stage-2 is behind a guest view: installed by a system call under the page lock, gone with the
/// host's mapping and flushed before pages are freed (I20, I27).
class RecordingMmu final : public SecondaryMmu, public TlbFlusher, public Notifier {
 public:
  static constexpr std::uint64_t most_pages = 4;

  /// `backing` has page 0 at `start`. It may be gone once nothing is visible.
  RecordingMmu(std::uintptr_t start, Backing& backing) : start_(start), backing_(&backing) {}

  [[nodiscard]] InstallResult install(const InstallRequest& run) override {
    const std::uint64_t first = page_at(run.address);
    for (std::uint64_t page = first; page < first + run.pages; ++page) {
      visible(&pages_[page], Access::write, "install", std::source_location::current());
      require(!pages_[page].cut, "a page is installed between the flush and the end of its range");
      pages_[page].shown = true;
      pages_[page].writable = run.writable;
      pages_[page].place =
          place_of(run.host) + (page - first); // in the backing; elsewhere after a migration
      pages_[page].content = content(*backing_, pages_[page].place);
    }
    return {InstallStatus::installed, run.pages};
  }

  void flush_range(std::uintptr_t start, std::uintptr_t end) override {
    each(start, end, [&](std::uint64_t page) {
      visible(&pages_[page], Access::write, "flush", std::source_location::current());
      pages_[page].shown = false;
      pages_[page].cut = true;
    });
  }

  bool invalidate_range_start(const NotifierRange&) override { return true; }

  void invalidate_range_end(const NotifierRange& range) override {
    each(range.start, range.end, [&](std::uint64_t page) { pages_[page].cut = false; });
  }

  /// A guest access, which may fault.
  void access(std::uintptr_t address) {
    visible(&pages_[page_at(address)], Access::read, "guest access",
            std::source_location::current());
    const Unexplored at_once;
    check(page_at(address));
  }

  /// A guest write, which may fault, to a page that is visible for writing: the page's number, changed.
  std::optional<std::uint64_t> write(std::uintptr_t address) {
    Page& page = pages_[page_at(address)];
    visible(&page, Access::write, "guest write", std::source_location::current());
    const Unexplored at_once;
    check(page_at(address));
    if (!page.shown || !page.writable) return std::nullopt;
    page.content += std::uint64_t(1) << 32;
    set_content(*backing_, page.place, page.content);
    return page.content;
  }

  /// What is visible is there, and what it was.
  void check_all() {
    for (std::uint64_t page = 0; page < most_pages; ++page) check(page);
  }

  [[nodiscard]] bool shows(std::uint64_t page) const { return pages_[page].shown; }

  [[nodiscard]] bool shows_writable(std::uint64_t page) const {
    return pages_[page].shown && pages_[page].writable;
  }

 private:
  struct Page {
    bool shown = false;
    bool writable = false;
    bool cut = false; // flushed, and its range not ended
    std::uint64_t place = 0;
    std::uint64_t content = 0;
  };

  [[nodiscard]] std::uint64_t page_at(std::uintptr_t address) const {
    return (address - start_) >> page_shift;
  }

  [[nodiscard]] std::uint64_t place_of(const std::byte* host) const {
    return std::uint64_t(host - backing_->host_view(0)) >> page_shift;
  }

  template <class Function> void each(std::uintptr_t start, std::uintptr_t end, Function function) {
    for (std::uint64_t page = 0; page < most_pages; ++page)
      if (const std::uintptr_t at = start_ + (page << page_shift); start <= at && at < end)
        function(page);
  }

  void check(std::uint64_t page) {
    if (!pages_[page].shown) return;
    const std::uint64_t place = pages_[page].place;
    require(backing_->word(place).read().state() == PageState::present,
            "the guest can reach a page that has been freed (I20)");
    require(content(*backing_, place) == pages_[page].content,
            "the guest can reach a page that has been freed and filled again (I20)");
    require((pages_[page].content & 0xff) == page, "the guest reaches another page");
  }

  const std::uintptr_t start_;
  Backing* const backing_;
  std::array<Page, most_pages> pages_{};
};

/// An address space with `pages` pages of a backing mapped from its start.
class World {
 public:
  World(VmaLockDesign design, std::uint64_t pages, unsigned n = 0, bool source_sleeps = false)
      : start(view_of(n)) {
    auto owned = std::make_unique<NumberingSource>(source_sleeps);
    source = owned.get();
    auto made =
        Backing::create("slat-explore", RecordingMmu::most_pages << page_shift, std::move(owned));
    require(made.has_value(), "no backing");
    backing = *made;
    // No VMA that an execution before has left in the cache looks write-locked to this one.
    static std::uint64_t sequence = 0;
    auto space =
        AddressSpace::create({.vma_lock = design, .first_sequence = sequence += 1 << 12}, counters);
    require(space.has_value(), "no address space");
    mm = std::move(*space);
    guest.emplace(start, *backing);
    mm->add_tlb_flusher(*guest);
    require(mm->notifiers().register_notifier(*guest).has_value(), "no notifier");
    map(0, pages);
  }

  ~World() {
    if (mm) mm->notifiers().unregister_notifier(*guest);
    mm.reset();
    if (backing != nullptr) backing->put();
  }

  World(const World&) = delete;
  World& operator=(const World&) = delete;

  [[nodiscard]] std::uintptr_t at(std::uint64_t page) const { return start + (page << page_shift); }

  void map(std::uint64_t first, std::uint64_t pages, std::uint32_t flags = vm_read | vm_write) {
    const auto mapped = mm->map({.address = at(first),
                                 .length = pages << page_shift,
                                 .flags = flags,
                                 .backing = backing,
                                 .pgoff = first});
    require(mapped.has_value(), "map() failed");
  }

  void unmap(std::uint64_t first, std::uint64_t pages) {
    require(mm->unmap(at(first), pages << page_shift).has_value(), "unmap() failed");
  }

  FaultResult fault(std::uint64_t page, std::uint32_t access = vm_read | vm_write) {
    return handle_mm_fault(*mm, {.address = at(page), .access = access, .mmu = &*guest}).result;
  }

  /// The same for a window of pages [first, end) around it.
  FaultResult fault_around(std::uint64_t page, std::uint64_t first, std::uint64_t end) {
    return handle_mm_fault(*mm, {.address = at(page),
                                 .access = vm_read,
                                 .mmu = &*guest,
                                 .around_start = at(first),
                                 .around_end = at(end)})
        .result;
  }

  /// Of page 0, once: what it holds now is what it must hold for as long as it counts as unwritten.
  void track_writes() {
    require(mm->track_writes(at(0), page_size).has_value(), "track_writes() failed");
    tracked_ = unwritten();
    check_unwritten();
  }

  [[nodiscard]] std::optional<std::uint64_t> unwritten() const {
    std::array<std::byte, page_size> bytes;
    if (!mm->read_unwritten(at(0), bytes)) return std::nullopt;
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }

  void check_unwritten() const {
    const auto now = unwritten();
    require(!now || !tracked_ || *now == *tracked_, "a write is not told (I31)");
  }

  /// VMAs alone keep the backing from here on.
  void give_up_backing() {
    backing->put();
    backing = nullptr;
  }

  /// Empty pages are empty in every respect (unless the backing has been given up).
  void check_empty(std::uint64_t page) const {
    require(backing->word(page).read().raw() == 0, "a page that was freed is not empty (I13)");
    require(!guest->shows(page), "a page that was freed is visible (I20)");
  }

  const std::uintptr_t start;
  Counters counters;
  NumberingSource* source = nullptr; // the backing's
  Backing* backing = nullptr;
  std::unique_ptr<AddressSpace> mm;
  std::optional<RecordingMmu> guest;

 private:
  std::optional<std::uint64_t> tracked_; // what page 0 held when tracking began
};

} // namespace slat::explore
