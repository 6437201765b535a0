// What the address space of fuzz_address_space is made of: a source, a secondary MMU and a store, each at its plainest.
#pragma once

#include "expect.hpp"
#include "mmu/backing.hpp"
#include "mmu/secondary_mmu.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <optional>

namespace slat::fuzz {

using namespace slat::mmu;

inline constexpr std::uint64_t stretch_pages = 64;
inline constexpr std::uint64_t backing_pages = 48;

inline std::byte filled_with(std::uint64_t page) {
  return std::byte(1 + page);
}

class Pattern final : public PageSource {
 public:
  FillResult fill(Backing& backing, PageRun run) override {
    for (std::uint64_t page = run.first; page < run.first + run.count; ++page)
      std::fill_n(backing.host_view(page), page_size, filled_with(page));
    return FillResult::filled;
  }

  [[nodiscard]] bool may_sleep() const override { return false; }

  /// It is not, and the model knows what an empty page becomes where.
  [[nodiscard]] bool is_uniform() const override { return true; }

  [[nodiscard]] std::string_view name() const override { return "pattern"; }
};

struct Mmu final : SecondaryMmu {
  InstallResult install(const InstallRequest& run) override {
    return {InstallStatus::installed, run.pages};
  }
};

/// Room for few pages, so that it is full now and then.
class Store final : public PageStore {
 public:
  ~Store() override { expect(used_ == std::array<bool, slots>{}, "every slot is dropped"); }

  std::optional<std::uint32_t> put(PageBytes page) override {
    const auto free = std::find(used_.begin(), used_.end(), false);
    if (free == used_.end()) return std::nullopt;
    *free = true;
    const auto slot = std::uint32_t(free - used_.begin());
    std::copy(page.begin(), page.end(), bytes_[slot].begin());
    return slot;
  }

  FillResult load(std::uint32_t slot, PageRoom into) override {
    expect(used_.at(slot), "a slot that is loaded is in use");
    std::copy(bytes_[slot].begin(), bytes_[slot].end(), into.begin());
    return FillResult::filled;
  }

  void drop(std::uint32_t slot) override {
    expect(used_.at(slot), "a slot is dropped once");
    used_[slot] = false;
  }

 private:
  static constexpr std::size_t slots = 24;
  std::array<bool, slots> used_{};
  std::array<std::array<std::byte, page_size>, slots> bytes_;
};

} // namespace slat::fuzz
