// VmaChange: one change of the map of VMAs. What is there is write-locked before it is looked at
// (I12); what may fail is prepared first; commit() cannot fail. An object whose VMA is only
// shortened, extended or given other flags stays; the rest is made or goes.
//
//   VmaChange change(design);
//   change.include(start, end, neighbours)          what overlaps or touches the range
//   change.prepare(coalesced(cut(change.before(), start, end)), limit)
//   ... the host's side ...
//   change.commit();
#pragma once

#include "mmu/assert.hpp"
#include "mmu/error.hpp"
#include "mmu/vma_lock/design.hpp"
#include "mmu/vma_map.hpp"

#include <cerrno>
#include <fmt/format.h>
#include <optional>
#include <vector>

namespace slat::mmu {

template <class D> class VmaChange {
  using Vma = typename D::Vma;
  using Entry = typename D::Tree::Entry;

 public:
  /// The mm write lock is held until this is gone.
  explicit VmaChange(D& design) SLAT_REQUIRES(design.mm_lock) : design_(&design) {}

  ~VmaChange() {
    for (Vma* vma : fresh_) design_->vm_area_free(*vma);
  }

  VmaChange(const VmaChange&) = delete;
  VmaChange& operator=(const VmaChange&) = delete;

  enum class Neighbours { leave, include };

  /// Takes in every VMA that overlaps [start, end), and those that only touch it if they may merge.
  /// Sleeps until their readers are out.
  void include(std::uintptr_t start, std::uintptr_t end, Neighbours neighbours) {
    const bool touching = neighbours == Neighbours::include;
    Region region{start, end};
    Entry entry = design_->tree.first_from(start - (touching && start != 0 ? 1 : 0));
    for (; entry.value != nullptr && (entry.start < end || (touching && entry.start == end));
         entry = design_->tree.first_from(entry.end)) {
      region.start = std::min(region.start, entry.start);
      region.end = std::max(region.end, entry.end);
      add(*entry.value);
    }
    // Regions that touch become one: the tree is changed one region at a time.
    for (std::size_t i = regions_.size(); i-- > 0;) {
      if (regions_[i].end < region.start || region.end < regions_[i].start) continue;
      region.start = std::min(region.start, regions_[i].start);
      region.end = std::max(region.end, regions_[i].end);
      regions_.erase(regions_.begin() + std::ptrdiff_t(i));
    }
    regions_.push_back(region);
  }

  [[nodiscard]] const VmaViews& before() const { return before_; }

  [[nodiscard]] const VmaViews& after() const { return after_; }

  /// Plans for `after`, which lies inside what was included. Errc::no_memory, also where there
  /// would be more than `limit` VMAs in all.
  Result<void> prepare(VmaViews after, std::size_t limit) {
    after_ = std::move(after);
    const std::size_t count = design_->tree.size() - olds_.size() + after_.size();
    if (after_.size() > olds_.size() && count > limit)
      return fail(Errc::no_memory, ENOMEM,
                  fmt::format("{} VMAs would be more than the limit of {}", count, limit));
    vmas_.reserve(after_.size());
    fresh_.reserve(after_.size());
    stays_.assign(olds_.size(), false);
    std::size_t candidate = 0;
    for (const VmaView& view : after_) {
      while (candidate < olds_.size() && before_[candidate].end <= view.start) ++candidate;
      const bool reuse = candidate < olds_.size() && same_mapping(before_[candidate], view);
      Vma* const vma = reuse ? olds_[candidate] : design_->vm_area_alloc(view);
      if (vma == nullptr) return fail(Errc::no_memory, ENOMEM, "no memory for a VMA");
      if (reuse)
        stays_[candidate++] = true;
      else
        fresh_.push_back(vma);
      vmas_.push_back(vma);
    }
    return prepare_tree();
  }

  /// Makes it so. Does not sleep but for readers that are about to notice that they came too late.
  void commit() {
    for (std::size_t i = 0; i < after_.size(); ++i) vmas_[i]->set(after_[i]);
    for (Vma* vma : fresh_) design_->vma_mark_attached(*vma);
    fresh_.clear();
    // The tree before the detaching: a reader that meets a detached VMA walks again, and must not
    // find it a second time.
    edit_->commit();
    for (std::size_t i = 0; i < olds_.size(); ++i) {
      if (stays_[i]) continue;
      design_->vma_mark_detached(*olds_[i]);
      design_->release(*olds_[i]);
    }
  }

 private:
  struct Region {
    std::uintptr_t start, end;
  };

  void add(Vma& vma) {
    design_->vma_start_write(vma); // before anything is decided from its fields (I12)
    const VmaView view = vma.view();
    const auto at = std::lower_bound(
        before_.begin(), before_.end(), view.start,
        [](const VmaView& one, std::uintptr_t start) { return one.start < start; });
    if (at != before_.end() && at->start == view.start) return; // between two included ranges
    olds_.insert(olds_.begin() + (at - before_.begin()), &vma);
    before_.insert(at, view);
  }

  static bool same_mapping(const VmaView& old, const VmaView& view) {
    return old.backing == view.backing && old.start < view.end && view.start < old.end &&
           old.start - (old.pgoff << page_shift) == view.start - (view.pgoff << page_shift);
  }

  Result<void> prepare_tree() {
    edit_.emplace(design_->tree.edit());
    std::vector<Entry> entries;
    entries.reserve(after_.size());
    for (const Region& region : regions_) {
      entries.clear();
      for (std::size_t i = 0; i < after_.size(); ++i)
        if (region.start <= after_[i].start && after_[i].start < region.end)
          entries.push_back({after_[i].start, after_[i].end, vmas_[i]});
      if (auto replaced = edit_->replace(region.start, region.end, entries); !replaced)
        return replaced;
    }
    return {};
  }

  D* design_;
  std::vector<Region> regions_;
  VmaViews before_;        // ascending
  std::vector<Vma*> olds_; // of before_
  VmaViews after_;
  std::vector<Vma*> vmas_;  // of after_
  std::vector<Vma*> fresh_; // those of vmas_ that are not attached yet
  std::vector<bool> stays_; // of olds_
  std::optional<typename D::Tree::Edit> edit_;
};

} // namespace slat::mmu
