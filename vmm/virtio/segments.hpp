// SegmentCursor: a place in the readable or the writable part of a buffer, wherever the driver has cut it.
#pragma once

#include "vmm/virtio/dma.hpp"
#include "vmm/virtio/queue.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace slat::vmm::virtio {

/// Bytes in all of them.
[[nodiscard]] std::uint64_t total(std::span<const Segment> segments);

/// The segments outlive it. What is asked for beyond the end is cut off there.
class SegmentCursor {
 public:
  SegmentCursor(GuestRam& ram, std::span<const Segment> segments)
      : ram_(&ram), segments_(segments), left_(total(segments)) {}

  /// Bytes to the end.
  [[nodiscard]] std::uint64_t left() const { return left_; }

  /// Fills `into` and goes on by as much; gives the bytes. Sleeps; errors as each_pinned(), and the place is not known
  /// then.
  Result<std::size_t> read(std::span<std::byte> into);
  /// The other way, with segments that are writable.
  Result<std::size_t> write(std::span<const std::byte> from);

  /// each_pinned() for the next `length` bytes.
  template <class Use> Result<void> each(std::uint64_t length, std::uint32_t access, Use use) {
    for (std::uint64_t done = 0, want = std::min(length, left_); done < want;) {
      const Segment& segment = segments_.front();
      const auto here =
          static_cast<std::size_t>(std::min<std::uint64_t>(segment.length - offset_, want - done));
      auto ok = each_pinned(*ram_, segment.address + offset_, here, access,
                            [&](std::span<std::byte> bytes, std::size_t at) {
                              return use(bytes, static_cast<std::size_t>(done) + at);
                            });
      if (!ok) return ok;
      skip(here);
      done += here;
    }
    return {};
  }

  void skip(std::uint64_t length);

 private:
  GuestRam* ram_;
  std::span<const Segment> segments_; // from the one where we are
  std::uint32_t offset_ = 0;          // in it; less than its length
  std::uint64_t left_;
};

} // namespace slat::vmm::virtio
