#include "vmm/virtio/block.hpp"

#include "vmm/virtio/segments.hpp"

#include <array>
#include <cstring>

namespace slat::vmm::virtio {

enum class Block::Status : std::uint8_t { ok = 0, io_error = 1, unsupported = 2 };

namespace {

constexpr std::uint64_t sector_bytes = 512;

enum Feature : std::uint64_t {
  feature_seg_max = 1 << 2,
  feature_read_only = 1 << 5,
  feature_block_size = 1 << 6,
  feature_flush = 1 << 9,
  feature_queues = 1 << 12,
  feature_discard = 1 << 13,
  feature_write_zeroes = 1 << 14,
};

enum RequestType : std::uint32_t {
  type_in = 0,
  type_out = 1,
  type_flush = 4,
  type_get_id = 8,
  type_discard = 11,
  type_write_zeroes = 13,
};

struct Request {
  std::uint32_t type;
  std::uint32_t reserved;
  std::uint64_t sector;
};

struct FreedRange {
  std::uint64_t sector;
  std::uint32_t sectors;
  std::uint32_t flags; // bit 0: write_zeroes may free
};

/// virtio 1.2, 5.2.4. Nothing in it is out of its natural place, so that it needs no packing.
struct BlockConfig {
  std::uint64_t sectors;
  std::uint32_t size_max;
  std::uint32_t seg_max;
  std::uint16_t cylinders;
  std::uint8_t heads, track_sectors;
  std::uint32_t block_size;
  std::uint8_t physical_exponent, alignment_offset;
  std::uint16_t min_io_size;
  std::uint32_t opt_io_size;
  std::uint8_t writeback, unused;
  std::uint16_t queues;
  std::uint32_t max_discard_sectors;
  std::uint32_t max_discard_ranges;
  std::uint32_t discard_alignment;
  std::uint32_t max_write_zeroes_sectors;
  std::uint32_t max_write_zeroes_ranges;
  std::uint8_t write_zeroes_may_unmap;
  std::array<std::uint8_t, 3> unused1;
};

static_assert(offsetof(BlockConfig, block_size) == 20 && offsetof(BlockConfig, queues) == 34 &&
              offsetof(BlockConfig, max_discard_sectors) == 36 && sizeof(BlockConfig) == 64);

constexpr std::uint32_t max_ranges = 32;              // of a request that frees
constexpr std::uint32_t max_freed_sectors = 1U << 22; // 2 GiB: no request takes for ever
constexpr std::size_t id_bytes = 20;

} // namespace

std::uint64_t Block::features() const {
  const std::uint64_t common =
      feature_seg_max | feature_block_size | feature_flush | feature_queues;
  return common | (image_.read_only() ? std::uint64_t{feature_read_only}
                                      : feature_discard | feature_write_zeroes);
}

void Block::read_config(std::uint64_t offset, std::span<std::byte> data) const {
  BlockConfig config{};
  config.sectors = image_.bytes() / sector_bytes;
  config.seg_max = Queue::max_size - 2; // the request's head and its status take one each
  config.block_size = sector_bytes;
  config.queues = static_cast<std::uint16_t>(queues_);
  config.max_discard_sectors = config.max_write_zeroes_sectors = max_freed_sectors;
  config.max_discard_ranges = config.max_write_zeroes_ranges = max_ranges;
  config.discard_alignment = 8; // sectors: what file systems free is pages
  config.write_zeroes_may_unmap = 1;
  copy_config(config, offset, data);
}

Result<void> Block::process(unsigned, Queue& queue, GuestRam& ram) {
  return serve(queue, *host_, [&](const Chain& chain) { return handle(chain, ram); });
}

Result<std::uint32_t> Block::handle(const Chain& chain, GuestRam& ram) {
  SegmentCursor in(ram, chain.readable);
  SegmentCursor out(ram, chain.writable);
  Request request{};
  auto head = in.read(std::as_writable_bytes(std::span(&request, 1)));
  if (!head) return forward(head);
  if (*head != sizeof request || out.left() == 0)
    return fail(Errc::bad_queue, 0,
                "the guest's virtio driver broke a rule: a disk request without head or status");
  // The last writable byte is the status, whatever comes before it.
  SegmentCursor status_at = out;
  const std::uint64_t data_bytes = out.left() - 1;
  status_at.skip(data_bytes);

  Status status = Status::unsupported;
  switch (request.type) {
  case type_in:
    status = transfer(false, request.sector, out);
    break;
  case type_out:
    status = transfer(true, request.sector, in);
    break;
  case type_flush:
    status = image_.flush() ? Status::ok : Status::io_error;
    break;
  case type_get_id:
    status = read_id(out);
    break;
  case type_discard:
  case type_write_zeroes:
    status = free_ranges(request.type == type_write_zeroes, in);
    break;
  default:
    break;
  }
  const auto byte = std::byte{static_cast<std::uint8_t>(status)};
  if (auto ok = status_at.write({&byte, 1}); !ok) return forward(ok);
  const std::uint64_t written = status == Status::ok && request.type != type_out ? data_bytes : 0;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(written + 1, UINT32_MAX));
}

Block::Status Block::transfer(bool write, std::uint64_t sector, SegmentCursor& data) {
  // The cursor of a read has the status at its end.
  const std::uint64_t length = data.left() - (write ? 0 : 1);
  const std::uint64_t sectors = image_.bytes() / sector_bytes;
  if (length % sector_bytes != 0 || sector > sectors || length / sector_bytes > sectors - sector ||
      (write && image_.read_only()))
    return Status::io_error;
  const std::uint64_t start = sector * sector_bytes;
  auto ok =
      data.each(length, write ? mmu::vm_read : mmu::vm_write,
                [&](std::span<std::byte> bytes, std::size_t at) {
                  return write ? image_.write(start + at, bytes) : image_.read(start + at, bytes);
                });
  return ok ? Status::ok : Status::io_error;
}

Block::Status Block::free_ranges(bool zero, SegmentCursor& data) {
  if (image_.read_only() || data.left() == 0 || data.left() % sizeof(FreedRange) != 0 ||
      data.left() / sizeof(FreedRange) > max_ranges)
    return Status::io_error;
  std::array<FreedRange, max_ranges> ranges{};
  auto count = data.read(std::as_writable_bytes(std::span(ranges)));
  if (!count) return Status::io_error;
  const std::uint64_t sectors = image_.bytes() / sector_bytes;
  for (const FreedRange& range : std::span(ranges).first(*count / sizeof(FreedRange))) {
    if ((range.flags & ~(zero ? 1U : 0U)) != 0) return Status::unsupported;
    if (range.sectors > max_freed_sectors || range.sector > sectors ||
        range.sectors > sectors - range.sector)
      return Status::io_error;
    if (range.sectors == 0) continue;
    const std::uint64_t start = range.sector * sector_bytes;
    const std::uint64_t length = range.sectors * sector_bytes;
    auto ok = zero ? image_.write_zeroes(start, length, (range.flags & 1) != 0)
                   : image_.discard(start, length);
    if (!ok) return Status::io_error;
  }
  return Status::ok;
}

Block::Status Block::read_id(SegmentCursor& data) {
  std::array<char, id_bytes> id{};
  std::memcpy(id.data(), id_.data(), std::min(id.size(), id_.size()));
  const std::size_t room = std::min<std::uint64_t>(data.left() - 1, id.size());
  return data.write(std::as_bytes(std::span(id)).first(room)) ? Status::ok : Status::io_error;
}

} // namespace slat::vmm::virtio
