// Any bytes as options and operations of an address space, against a model that knows pages only.
// After each operation: the VMAs, the host's mappings, what is accounted and what the guest reads.
#include "mmu/address_space.hpp"
#include "mmu/alloc.hpp"
#include "mmu/translation_cache.hpp"
#include "mmu/vma_lock/all_designs.hpp"
#include "space_input.hpp"
#include "space_parts.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <sys/mman.h>
#include <vector>

using namespace slat::fuzz;

namespace {

struct Mapped {
  int backing;
  std::uint64_t page;
  std::uint32_t flags;
  bool operator==(const Mapped&) const = default;
};

using Model = std::map<std::uintptr_t, Mapped>; // by address

class Fuzz {
 public:
  explicit Fuzz(const SpaceOptions& options) {
    constexpr VmaLockDesign designs[] = {
#define SLAT_KIND(Design) Design::kind,
        SLAT_FOR_EACH_DESIGN(SLAT_KIND)
#undef SLAT_KIND
    };
    options_.vma_lock = designs[options.design % std::size(designs)];
    if (options.vma_limit != 0) options_.vma_limit = options.vma_limit;
    options_.commit_limit = std::uint64_t(options.commit_limit) << page_shift;
    options_.locked_limit = std::uint64_t(options.locked_limit) << page_shift;
    if (options.window % 2 != 0) options_.window = (stretch_pages / 2) << page_shift;
    auto made = AddressSpace::create(options_, counters_);
    expect(made.has_value(), "an address space can be made");
    mm_ = std::move(*made);
    mm_->set_populate_mmu(mmu_);
    translations_ = std::make_unique<TranslationCache>(*mm_);
    expect(mm_->notifiers().register_notifier(*translations_).has_value(),
           "a translation cache can be registered");
    for (std::size_t i = 0; i < backings_.size(); ++i) {
      auto backing = Backing::create("slat-fuzz-" + std::to_string(i), backing_pages << page_shift,
                                     std::make_unique<Pattern>());
      expect(backing.has_value(), "a backing can be made");
      backings_[i].reset(*backing);
      backings_[i]->set_store(store_);
      for (std::uint64_t page = 0; page < backing_pages; ++page)
        content_[i][page] = filled_with(page);
    }
    base_ = stretch();
    if (options_.window != 0) { // the lowest gap is its start; half of the stretch is behind it
      auto any = mm_->map({.length = page_size, .backing = backings_[0].get()});
      expect(any && mm_->unmap(*any, page_size), "the window has room");
      base_ = *any;
    }
  }

  void run(const SpaceOperation& operation) {
    before_ = model_;
    const bool host_fails = operation.fail != 0 && operation.fail < 64;
    if (host_fails) host::fail_call(operation.fail, ENOMEM);
    host_failed_ = host_failed_ || host_fails; // it may have kept address space reserved
    if (operation.fail >= 64 && operation.fail < 128)
      fail_allocation(unsigned(operation.fail) - 63);
    lacks_memory_ = operation.fail != 0;
    unhindered_ = operation.fail == 0 && !host_failed_ && options_.vma_limit > stretch_pages * 2 &&
                  options_.commit_limit == 0 && options_.locked_limit == 0 && options_.window == 0;
    const bool good = apply(operation);
    host::fail_call(0, 0);
    fail_allocation(0);
    if (!good) model_ = before_;
    check();
  }

  ~Fuzz() {
    for (const auto& [address, mapped] : model_) check_page(address, mapped);
    mm_->notifiers().unregister_notifier(*translations_);
    translations_.reset();
    mm_.reset();
    for (std::size_t i = 0; i < backings_.size(); ++i)
      for (std::uint64_t page = 0; page < backing_pages; ++page) {
        expect(backings_[i]->reserve_pages({page, 1}).has_value(), "no page is mapped any more");
        backings_[i]->unreserve_pages({page, 1});
      }
  }

  Fuzz(const Fuzz&) = delete;
  Fuzz& operator=(const Fuzz&) = delete;

 private:
  /// Free, always the same, and with so much room above it, where the kernel looks first, that nobody
  /// else's mapping lands in it.
  static std::uintptr_t stretch() {
    constexpr std::size_t guard = std::size_t(1) << 20;
    constexpr std::size_t above = std::size_t(8) << 30;
    constexpr std::size_t bytes = stretch_pages << page_shift;
    static std::byte* const start = [] {
      void* const reserved = mmap(nullptr, guard + bytes + guard + above, PROT_NONE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      expect(reserved != MAP_FAILED, "there is address space");
      std::byte* const where = static_cast<std::byte*>(reserved) + guard;
      munmap(where + bytes + guard, above);
      return where;
    }();
    munmap(start, bytes); // with what failures left reserved
    return reinterpret_cast<std::uintptr_t>(start);
  }

  [[nodiscard]] std::uintptr_t at(std::uint64_t page) const { return base_ + (page << page_shift); }

  [[nodiscard]] bool whole(std::uintptr_t start, std::uint64_t length) const {
    for (std::uintptr_t at = start; at < start + length; at += page_size)
      if (!model_.contains(at)) return false;
    return true;
  }

  /// Pages of [start, start + length) go, with their content.
  void take(std::uintptr_t start, std::uint64_t length) {
    for (std::uintptr_t at = start; at < start + length; at += page_size)
      if (const auto found = model_.find(at); found != model_.end()) {
        gone_.push_back(found->second);
        model_.erase(found);
      }
  }

  /// What was taken is filled anew; only if the operation has succeeded.
  void forget() {
    for (const Mapped& mapped : gone_)
      content_[std::size_t(mapped.backing)][mapped.page] = filled_with(mapped.page);
  }

  bool apply(const SpaceOperation& operation) {
    gone_.clear();
    const std::uint64_t page = operation.page % stretch_pages;
    const std::uint64_t count = 1 + operation.length % 16;
    const std::uintptr_t start = at(page);
    const std::uint64_t length = std::min(count, stretch_pages - page) << page_shift;
    switch (SpaceStep(operation.step % std::uint8_t(SpaceStep::count))) {
    case SpaceStep::map:
      return map(operation, start, length);
    case SpaceStep::unmap: {
      take(start, length);
      const bool good = mm_->unmap(start, length).has_value();
      expect(good || !unhindered_, "an unmap fails for nothing");
      if (good) forget();
      return good;
    }
    case SpaceStep::protect: {
      const std::uint32_t flags = operation.flags % 8;
      const bool mapped = whole(start, length);
      const bool good = mm_->protect(start, length, flags).has_value();
      expect(mapped || !good, "a hole is protected");
      expect(good || !mapped || !unhindered_, "a protect fails for nothing");
      if (good)
        each(start, length, [&](Mapped& one) { one.flags = (one.flags & vm_locked) | flags; });
      return good;
    }
    case SpaceStep::move:
      return move(operation, start, length);
    case SpaceStep::advise: {
      const auto advice = Advice(operation.flags % 6);
      const bool mapped = whole(start, length);
      const bool good = mm_->advise(start, length, advice).has_value();
      expect(mapped || !good, "advice for a hole is taken");
      if (good)
        each(start, length, [&](Mapped& one) {
          const bool discards =
              advice == Advice::dontneed || advice == Advice::remove || advice == Advice::pageout;
          expect(!discards || (one.flags & vm_locked) == 0, "what is locked is discarded");
          if (advice == Advice::remove)
            content_[std::size_t(one.backing)][one.page] = filled_with(one.page);
        });
      return good;
    }
    case SpaceStep::lock:
    case SpaceStep::unlock: {
      const bool locks =
          SpaceStep(operation.step % std::uint8_t(SpaceStep::count)) == SpaceStep::lock;
      const bool mapped = whole(start, length);
      const bool good = (locks ? mm_->lock(start, length) : mm_->unlock(start, length)).has_value();
      expect(mapped || !good, "a hole is locked");
      expect(good || !mapped || !unhindered_, "a lock fails for nothing");
      if (good)
        each(start, length, [&](Mapped& one) {
          one.flags = locks ? one.flags | vm_locked : one.flags & ~std::uint32_t(vm_locked);
        });
      return good;
    }
    case SpaceStep::fault: {
      const std::uint32_t access = operation.flags % 8;
      const FaultOutcome outcome = mm_->handle_fault({.address = start,
                                                      .access = access,
                                                      .mmu = &mmu_,
                                                      .around_start = start,
                                                      .around_end = start + length});
      const auto found = model_.find(start);
      const FaultResult due = found == model_.end()                      ? FaultResult::no_vma
                              : (found->second.flags & access) != access ? FaultResult::denied
                                                                         : FaultResult::done;
      if (lacks_memory_ && outcome.result == FaultResult::no_memory) return true;
      expect(outcome.result == due, "a fault ends as the map says");
      return true;
    }
    case SpaceStep::write: {
      std::array<std::byte, page_size> bytes;
      bytes.fill(std::byte(operation.to));
      const auto result = translations_->write(start, bytes).result;
      if (lacks_memory_ && !result && result.error().code == Errc::no_memory) return true;
      const bool written = result.has_value();
      const auto found = model_.find(start);
      const bool writable = found != model_.end() && (found->second.flags & vm_write) != 0;
      expect(written == writable, "a write ends as the map says");
      if (writable)
        content_[std::size_t(found->second.backing)][found->second.page] = std::byte(operation.to);
      return true;
    }
    case SpaceStep::reclaim: {
      // Nothing that the model knows of changes: neither the map nor what the guest reads.
      const auto done = mm_->reclaim(start, length);
      expect(done || !unhindered_, "a reclaim fails for nothing");
      if (!done || !unhindered_ || done->full) return true;
      for (std::uintptr_t at = start; at < start + length; at += page_size) {
        const auto found = model_.find(at);
        if (found == model_.end()) continue;
        const PageState state =
            backings_[std::size_t(found->second.backing)]->word(found->second.page).read().state();
        expect((found->second.flags & vm_locked) != 0 ? state != PageState::reclaimed
                                                      : state != PageState::present,
               "what is present and not locked is reclaimed");
      }
      return true;
    }
    case SpaceStep::migrate:
      return migrate(operation, start, length);
    default:
      if (const auto found = model_.find(start); found != model_.end())
        check_page(start, found->second);
      return true;
    }
  }

  template <class F> void each(std::uintptr_t start, std::uint64_t length, F f) {
    for (std::uintptr_t at = start; at < start + length; at += page_size) f(model_.at(at));
  }

  bool map(const SpaceOperation& operation, std::uintptr_t start, std::uint64_t length) {
    const int backing = (operation.how & 4) != 0 ? 1 : 0;
    const std::uint64_t pgoff = operation.pgoff % backing_pages;
    const std::uint32_t flags = operation.flags % 8;
    const bool anywhere = (operation.how & 2) != 0;
    const bool replace = (operation.how & 1) != 0;
    auto where = mm_->map({.address = anywhere ? 0 : start,
                           .replace = replace,
                           .length = length,
                           .flags = flags,
                           .backing = backings_[std::size_t(backing)].get(),
                           .pgoff = pgoff});
    if (!where) {
      bool free = pgoff + (length >> page_shift) <= backing_pages;
      for (const auto& [address, mapped] : model_) {
        const std::uint64_t end = pgoff + (length >> page_shift);
        free = free && !(mapped.backing == backing && mapped.page >= pgoff && mapped.page < end);
        free = free && (anywhere || replace || address < start || address >= start + length);
      }
      if (free && unhindered_) std::fprintf(stderr, "%s\n", where.error().message.c_str());
      expect(!free || !unhindered_, "a map fails for nothing");
      return false;
    }
    expect(anywhere || *where == start, "a fixed address is used");
    if (!replace || anywhere)
      for (std::uintptr_t at = *where; at < *where + length; at += page_size)
        expect(!model_.contains(at), "nothing is replaced unasked");
    take(*where, length);
    forget();
    for (std::uint64_t done = 0; done < length; done += page_size)
      model_[*where + done] = {backing, pgoff + (done >> page_shift), flags};
    return true;
  }

  bool move(const SpaceOperation& operation, std::uintptr_t start, std::uint64_t length) {
    MoveRequest request{.address = start,
                        .old_length = length,
                        .new_length = std::uint64_t(1 + operation.pgoff % 16) << page_shift,
                        .may_move = (operation.how & 2) != 0};
    const std::uint64_t to = operation.to % stretch_pages;
    if ((operation.how & 1) != 0) {
      request.to = at(to);
      if (to + (request.new_length >> page_shift) > stretch_pages) return false; // stay inside
    }
    const bool mapped = whole(start, length);
    auto where = mm_->move(request);
    if (!where) {
      const bool apart = request.to && (*request.to >= start + length ||
                                        start >= *request.to + request.new_length);
      expect(!mapped || !apart || request.new_length > length || !unhindered_,
             (where.error().message + ": a move fails for nothing").c_str());
      return false;
    }
    expect(mapped, "a hole is moved");
    expect(!request.to || *where == *request.to, "a fixed address is used");
    Model moved;
    const std::uint64_t kept = std::min(length, request.new_length);
    for (std::uint64_t done = 0; done < kept; done += page_size) {
      moved[*where + done] = model_.at(start + done);
      model_.erase(start + done);
    }
    const Mapped last = moved.rbegin()->second;
    take(start + kept, length - kept);
    take(*where, request.new_length);
    forget();
    model_.merge(moved);
    for (std::uint64_t done = kept; done < request.new_length; done += page_size)
      model_[*where + done] = {last.backing, last.page + ((done - kept) >> page_shift) + 1,
                               last.flags};
    return true;
  }

  bool migrate(const SpaceOperation& operation, std::uintptr_t start, std::uint64_t length) {
    const std::uint64_t place = operation.pgoff % backing_pages;
    const std::uint64_t count = length >> page_shift;
    const int backing = model_.contains(start) ? model_.at(start).backing : 0;
    bool fine = whole(start, length) && place + count <= backing_pages;
    for (const auto& [address, mapped] : model_) {
      const bool going = start <= address && address < start + length;
      fine = fine && (!going || mapped.backing == backing);
      fine = fine &&
             (mapped.backing != backing || mapped.page < place || mapped.page >= place + count);
    }
    std::vector<bool> has_content; // else it is filled where it is then
    if (fine)
      each(start, length, [&](const Mapped& one) {
        has_content.push_back(backings_[std::size_t(one.backing)]->word(one.page).read().state() !=
                              PageState::none);
      });
    const auto done = mm_->migrate({.address = start, .length = length, .pgoff = place});
    expect(fine || !done, "pages migrate to where they cannot be");
    expect(done || !fine || !unhindered_, "a migration fails for nothing");
    if (!done) return false;
    auto& content = content_[std::size_t(backing)];
    std::uint64_t i = 0;
    each(start, length, [&](Mapped& one) {
      content[place + i] = has_content[i] ? content[one.page] : filled_with(place + i);
      content[one.page] = filled_with(one.page);
      one.page = place + i++;
    });
    return true;
  }

  void check() {
    Model views;
    std::uint64_t committed = 0;
    std::uint64_t locked = 0;
    const VmaViews vmas = mm_->vmas();
    for (std::size_t i = 0; i < vmas.size(); ++i) {
      const VmaView& vma = vmas[i];
      expect(i == 0 || vmas[i - 1].end <= vma.start, "VMAs are ascending and disjoint");
      expect(i == 0 || !continues(vmas[i - 1], vma), "VMAs that fit together are one");
      if ((vma.flags & vm_write) != 0) committed += vma.bytes();
      if ((vma.flags & vm_locked) != 0) locked += vma.bytes();
      for (std::uintptr_t at = vma.start; at < vma.end; at += page_size)
        views[at] = {vma.backing == backings_[0].get() ? 0 : 1, vma.page_of(at), vma.flags};
    }
    expect(views == model_, "the VMAs are what the operations make");
    const MemoryUsage usage = mm_->usage();
    expect(usage.vmas == vmas.size() && usage.mapped_bytes == model_.size() << page_shift,
           "what is mapped is accounted");
    expect(usage.committed_bytes == committed, "what is committed is accounted");
    expect(usage.locked_bytes == locked, "what is locked is accounted");
    expect(vmas.size() <= options_.vma_limit, "the limit of VMAs holds");
    expect(options_.commit_limit == 0 || committed <= options_.commit_limit,
           "the commit limit holds");
    expect(options_.locked_limit == 0 || locked <= options_.locked_limit,
           "the limit of locked bytes holds");
    expect(mm_->notifiers().sequence().count() == 0, "no range is left in progress");
    check_host();
  }

  /// Each mapping of the guest view, page by page, as the kernel has it.
  void check_host() {
    std::FILE* const maps = std::fopen("/proc/self/maps", "r");
    std::size_t pages = 0;
    char line[512];
    while (std::fgets(line, sizeof line, maps) != nullptr) {
      const char* const name = std::strstr(line, "/memfd:slat-fuzz-");
      if (name == nullptr) continue;
      const int backing = name[std::strlen("/memfd:slat-fuzz-")] - '0';
      unsigned long start = 0, end = 0, offset = 0;
      char permissions[5];
      std::sscanf(line, "%lx-%lx %4s %lx", &start, &end, permissions, &offset);
      const auto host_view =
          reinterpret_cast<std::uintptr_t>(backings_[std::size_t(backing)]->host_view(0));
      for (std::uintptr_t at = start; at < end; at += page_size, offset += page_size) {
        if (at >= host_view && at < host_view + (backing_pages << page_shift)) continue;
        const auto found = model_.find(at);
        expect(found != model_.end(), "the host maps nothing that no VMA maps");
        expect(found->second.backing == backing && found->second.page == offset >> page_shift,
               "the host maps the right page");
        expect((permissions[0] == 'r') == ((found->second.flags & vm_read) != 0) &&
                   (permissions[1] == 'w') == ((found->second.flags & vm_write) != 0) &&
                   (permissions[2] == 'x') == ((found->second.flags & vm_exec) != 0),
               "the host allows what the VMA allows");
        ++pages;
      }
    }
    std::fclose(maps);
    expect(pages == model_.size(), "the host maps every page of a VMA");
  }

  void check_page(std::uintptr_t address, const Mapped& mapped) {
    std::array<std::byte, page_size> bytes;
    const auto result = translations_->read(address, bytes).result;
    if (lacks_memory_ && !result && result.error().code == Errc::no_memory) return;
    const bool read = result.has_value();
    const bool readable = (mapped.flags & vm_read) != 0;
    expect(read == readable, "a read ends as the map says");
    if (!readable) return;
    const std::byte due = content_[std::size_t(mapped.backing)][mapped.page];
    expect(bytes[0] == due && bytes[page_size - 1] == due, "the guest reads what it wrote (I38)");
  }

  Counters counters_;
  Mmu mmu_;
  AddressSpaceOptions options_;
  Store store_; // outlives the backings
  std::array<BackingRef, 2> backings_;
  std::unique_ptr<AddressSpace> mm_;
  std::unique_ptr<TranslationCache> translations_;
  std::uintptr_t base_ = 0;
  Model model_;
  Model before_;
  std::vector<Mapped> gone_;
  bool host_failed_ = false;
  bool unhindered_ = false;   // no failure is planned, and no limit set
  bool lacks_memory_ = false; // one is: a page may fail to come back from the store
  std::array<std::array<std::byte, backing_pages>, 2> content_{}; // each byte of the page
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < sizeof(SpaceOptions)) return 0;
  SpaceOptions options;
  std::memcpy(&options, data, sizeof options);
  Fuzz fuzz(options);
  for (std::size_t at = sizeof options; at + sizeof(SpaceOperation) <= size;
       at += sizeof(SpaceOperation)) {
    SpaceOperation operation;
    std::memcpy(&operation, data + at, sizeof operation);
    fuzz.run(operation);
  }
  return 0;
}
