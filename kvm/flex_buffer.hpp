// FlexBuffer: a kernel structure that ends in a flexible array, with room for the array.
#pragma once

#include <algorithm>
#include <cstddef>
#include <new>
#include <span>
#include <type_traits>
#include <vector>

namespace slat::kvm {

/// A zeroed `Header` followed by `count` objects of type `Entry`, as the kernel's ioctls want it.
/// Allocates.
template <class Header, class Entry> class FlexBuffer {
  static_assert(std::is_trivially_copyable_v<Header> && std::is_trivially_copyable_v<Entry>);
  static_assert(sizeof(Header) % alignof(Entry) == 0);

 public:
  explicit FlexBuffer(std::size_t count)
      : bytes_(sizeof(Header) + count * sizeof(Entry)), count_(count) {}

  explicit FlexBuffer(std::span<const Entry> from) : FlexBuffer(from.size()) {
    std::ranges::copy(from, entries().begin());
  }

  [[nodiscard]] Header* header() { return std::launder(reinterpret_cast<Header*>(bytes_.data())); }

  [[nodiscard]] std::span<Entry> entries() {
    return {std::launder(reinterpret_cast<Entry*>(bytes_.data() + sizeof(Header))), count_};
  }

 private:
  std::vector<std::byte> bytes_;
  std::size_t count_;
};

} // namespace slat::kvm
