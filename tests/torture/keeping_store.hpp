// A store that keeps copies as they are, and checks that each slot is somebody's.
#pragma once

#include "mmu/page_store.hpp"
#include "torture.hpp"

#include <array>
#include <cstring>
#include <map>
#include <mutex>

namespace slat::torture {

class KeepingStore : public mmu::PageStore {
 public:
  KeepingStore() = default;

  ~KeepingStore() override { check(pages_.empty(), "{} slots were never dropped", pages_.size()); }

  KeepingStore(const KeepingStore&) = delete;
  KeepingStore& operator=(const KeepingStore&) = delete;

  std::optional<std::uint32_t> put(mmu::PageBytes page) override {
    const std::lock_guard guard(mutex_);
    std::memcpy(pages_[next_].data(), page.data(), page.size());
    return next_++;
  }

  mmu::FillResult load(std::uint32_t slot, mmu::PageRoom into) override {
    const std::lock_guard guard(mutex_);
    const auto found = pages_.find(slot);
    check(found != pages_.end(), "slot {} is loaded, and nobody's", slot);
    std::memcpy(into.data(), found->second.data(), into.size());
    return mmu::FillResult::filled;
  }

  void drop(std::uint32_t slot) override {
    const std::lock_guard guard(mutex_);
    check(pages_.erase(slot) == 1, "slot {} is dropped, and nobody's", slot);
  }

 private:
  std::mutex mutex_;
  std::map<std::uint32_t, std::array<std::byte, mmu::page_size>> pages_;
  std::uint32_t next_ = 0;
};

} // namespace slat::torture
