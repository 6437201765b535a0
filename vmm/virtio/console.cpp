#include "vmm/virtio/console.hpp"

#include "vmm/virtio/segments.hpp"

#include <algorithm>
#include <array>

namespace slat::vmm::virtio {

namespace {

constexpr unsigned receive_queue = 0;
constexpr std::size_t received_limit = 4096;
constexpr std::size_t piece = 1024; // bytes at once, in either direction

} // namespace

void VirtioConsole::read_config(std::uint64_t, std::span<std::byte> data) const {
  std::ranges::fill(data, std::byte{0}); // nothing of it without features
}

bool VirtioConsole::has_room() const {
  mmu::MutexGuard guard(mutex_);
  return received_.size() <= received_limit - input_piece;
}

void VirtioConsole::receive(std::span<const char> bytes) {
  {
    mmu::MutexGuard guard(mutex_);
    received_.insert(received_.end(), bytes.begin(), bytes.end());
  }
  host_->kick(receive_queue);
}

Result<void> VirtioConsole::process(unsigned index, Queue& queue, GuestRam& ram) {
  if (index == receive_queue) return fill(queue, ram);
  return serve(queue, *host_, [&](const Chain& chain) { return print(chain, ram); });
}

// Only this thread takes from received_, so what it has seen there stays. Buffers without input stay with the queue.
Result<void> VirtioConsole::fill(Queue& queue, GuestRam& ram) {
  Chain chain;
  for (;;) {
    std::array<char, piece> bytes{};
    std::size_t count = 0;
    {
      mmu::MutexGuard guard(mutex_);
      count = std::min(received_.size(), bytes.size());
      std::copy_n(received_.begin(), count, bytes.begin());
    }
    if (count == 0) return {};
    auto more = queue.pop(chain);
    if (!more) return forward(more);
    if (!*more) return {}; // the driver tells when it has given some
    SegmentCursor out(ram, chain.writable);
    auto written = out.write(std::as_bytes(std::span(bytes).first(count)));
    if (!written) return forward(written);
    {
      mmu::MutexGuard guard(mutex_);
      received_.erase(received_.begin(), received_.begin() + static_cast<std::ptrdiff_t>(*written));
    }
    if (auto ok = queue.push(chain.head, static_cast<std::uint32_t>(*written)); !ok) return ok;
  }
}

Result<std::uint32_t> VirtioConsole::print(const Chain& chain, GuestRam& ram) {
  SegmentCursor in(ram, chain.readable);
  std::array<char, piece> bytes{};
  while (in.left() != 0) {
    auto count = in.read(std::as_writable_bytes(std::span(bytes)));
    if (!count) return forward(count);
    sink_(std::span<const char>(bytes).first(*count));
  }
  return 0U;
}

} // namespace slat::vmm::virtio
