#include "vmm/virtio/segments.hpp"

#include "mmu/shared_copy.hpp"

#include <numeric>

namespace slat::vmm::virtio {

std::uint64_t total(std::span<const Segment> segments) {
  return std::accumulate(
      segments.begin(), segments.end(), std::uint64_t{0},
      [](std::uint64_t sum, const Segment& segment) { return sum + segment.length; });
}

void SegmentCursor::skip(std::uint64_t length) {
  std::uint64_t rest = std::min(length, left_);
  left_ -= rest;
  while (rest != 0) {
    const std::uint64_t here = std::min<std::uint64_t>(rest, segments_.front().length - offset_);
    offset_ += static_cast<std::uint32_t>(here);
    rest -= here;
    if (offset_ != segments_.front().length) continue;
    segments_ = segments_.subspan(1);
    offset_ = 0;
  }
}

Result<std::size_t> SegmentCursor::read(std::span<std::byte> into) {
  const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), left_));
  auto ok = each(count, mmu::vm_read, [&](std::span<std::byte> bytes, std::size_t at) {
    mmu::copy_from_shared(into.subspan(at, bytes.size()), bytes.data());
    return Result<void>();
  });
  if (!ok) return forward(ok);
  return count;
}

Result<std::size_t> SegmentCursor::write(std::span<const std::byte> from) {
  const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(from.size(), left_));
  auto ok = each(count, mmu::vm_write, [&](std::span<std::byte> bytes, std::size_t at) {
    mmu::copy_to_shared(bytes.data(), from.subspan(at, bytes.size()));
    return Result<void>();
  });
  if (!ok) return forward(ok);
  return count;
}

} // namespace slat::vmm::virtio
