// FakeStore: a page store of plain copies, that fails and waits where a test wants it to, and notices a slot that
// is used or dropped when it is nobody's.
#pragma once

#include "mmu/page_store.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <gtest/gtest.h>
#include <memory>
#include <mutex>
#include <vector>

namespace slat::mmu::testing {

class FakeStore final : public PageStore {
 public:
  /// Allocates nothing later: tests make that fail.
  explicit FakeStore(std::size_t capacity = 512)
      : bytes_(new std::byte[capacity * page_size]), used_(capacity, false) {}

  ~FakeStore() override { EXPECT_EQ(pages(), 0u) << "slots that were never dropped"; }

  FakeStore(const FakeStore&) = delete;
  FakeStore& operator=(const FakeStore&) = delete;

  std::optional<std::uint32_t> put(PageBytes page) override {
    if (before_put) before_put();
    const std::lock_guard guard(mutex_);
    const auto free = std::find(used_.begin(), used_.end(), false); // slot 0 is one as any other
    if (free == used_.end()) return std::nullopt;
    *free = true;
    const auto slot = std::uint32_t(free - used_.begin());
    std::memcpy(at(slot), page.data(), page.size());
    ++puts_;
    return slot;
  }

  FillResult load(std::uint32_t slot, PageRoom into) override {
    if (before_load)
      if (const FillResult result = before_load(into); result != FillResult::filled) return result;
    const std::lock_guard guard(mutex_);
    EXPECT_TRUE(used_.at(slot)) << "slot " << slot << " is loaded, and nobody's";
    std::memcpy(into.data(), at(slot), into.size());
    return FillResult::filled;
  }

  void drop(std::uint32_t slot) override {
    const std::lock_guard guard(mutex_);
    EXPECT_TRUE(used_.at(slot)) << "slot " << slot << " is dropped, and nobody's";
    used_[slot] = false;
    std::memset(at(slot), 0xdd, page_size); // whoever still reads it notices
  }

  [[nodiscard]] std::size_t pages() {
    const std::lock_guard guard(mutex_);
    return std::size_t(std::count(used_.begin(), used_.end(), true));
  }

  [[nodiscard]] std::uint64_t puts() {
    const std::lock_guard guard(mutex_);
    return puts_;
  }

  std::function<void()> before_put;                // set while nothing can call it
  std::function<FillResult(PageRoom)> before_load; // another result than `filled` is the load's

 private:
  std::byte* at(std::uint32_t slot) { return bytes_.get() + slot * page_size; }

  std::mutex mutex_;
  const std::unique_ptr<std::byte[]> bytes_;
  std::vector<bool> used_;
  std::uint64_t puts_ = 0;
};

} // namespace slat::mmu::testing
