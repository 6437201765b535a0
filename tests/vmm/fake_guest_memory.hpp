// Guest RAM in a test's own memory: any ranges, pages made when first written, every write
// recorded.
#pragma once

#include "vmm/guest_memory.hpp"
#include "vmm/layout.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_map>
#include <utility>
#include <vector>

namespace slat::vmm {

class FakeGuestMemory final : public GuestMemory {
 public:
  /// Bytes never written read as this, so that a test sees what was zeroed and what was left alone.
  static constexpr std::byte untouched{0xcc};

  explicit FakeGuestMemory(std::uint64_t size) : ranges_(ram_layout(size)) {}

  explicit FakeGuestMemory(std::vector<GpaRange> ranges) : ranges_(std::move(ranges)) {}

  [[nodiscard]] std::span<const GpaRange> ranges() const override { return ranges_; }

  Result<void> write(Gpa address, std::span<const std::byte> bytes) override {
    if (fail_writes_) return fail(Errc::host_failed, 5, "the fake memory fails");
    if (!inside(address, bytes.size())) return outside();
    writes_.push_back({address, bytes.size()});
    each_page(address, bytes.size(),
              [&](Page& page, std::size_t at, std::size_t done, std::size_t size) {
                std::memcpy(page.data() + at, bytes.data() + done, size);
              });
    return {};
  }

  Result<void> read(Gpa address, std::span<std::byte> bytes) override {
    if (!inside(address, bytes.size())) return outside();
    each_page(address, bytes.size(),
              [&](Page& page, std::size_t at, std::size_t done, std::size_t size) {
                std::memcpy(bytes.data() + done, page.data() + at, size);
              });
    return {};
  }

  template <class T> T get(Gpa address) {
    T value{};
    if (!read(address, std::as_writable_bytes(std::span(&value, 1)))) std::abort();
    return value;
  }

  template <class T> void put(Gpa address, const T& value) {
    if (!write(address, std::as_bytes(std::span(&value, 1)))) std::abort();
  }

  /// Every write that succeeded, oldest first.
  [[nodiscard]] const std::vector<GpaRange>& writes() const { return writes_; }

  void fail_writes() { fail_writes_ = true; }

  void reset() {
    pages_.clear();
    writes_.clear();
  }

 private:
  using Page = std::array<std::byte, guest_page_size>;

  // Not slat's own contains(), page by page instead: a mistake there must not hide itself.
  [[nodiscard]] bool inside(Gpa address, std::uint64_t size) const {
    for (std::uint64_t done = 0; done < size;) {
      const std::uint64_t part =
          std::min(size - done, guest_page_size - (address + done) % guest_page_size);
      const Gpa here = address + done;
      const bool found = std::any_of(ranges_.begin(), ranges_.end(), [&](const GpaRange& r) {
        return here >= r.start && here - r.start < r.size && part <= r.size - (here - r.start);
      });
      if (!found) return false;
      done += part;
    }
    return true;
  }

  static tl::unexpected<Error> outside() {
    return fail(Errc::out_of_guest_memory, 0, "outside the fake memory");
  }

  template <class F> void each_page(Gpa address, std::size_t size, F&& f) {
    for (std::size_t done = 0; done < size;) {
      const Gpa here = address + done;
      const std::size_t at = here % guest_page_size;
      const std::size_t part = std::min<std::size_t>(size - done, guest_page_size - at);
      const auto [page, fresh] = pages_.try_emplace(here / guest_page_size);
      if (fresh) page->second.fill(untouched);
      f(page->second, at, done, part);
      done += part;
    }
  }

  std::vector<GpaRange> ranges_;
  std::unordered_map<std::uint64_t, Page> pages_;
  std::vector<GpaRange> writes_;
  bool fail_writes_ = false;
};

} // namespace slat::vmm
