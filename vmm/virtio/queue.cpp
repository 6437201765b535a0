#include "vmm/virtio/queue.hpp"

#include "mmu/atomics.hpp"
#include "vmm/layout.hpp"

#include <array>
#include <bit>
#include <cstring>
#include <fmt/format.h>

namespace slat::vmm::virtio {

namespace {

struct Descriptor {
  std::uint64_t address;
  std::uint32_t length;
  std::uint16_t flags;
  std::uint16_t next;
};

struct UsedElement {
  std::uint32_t id;
  std::uint32_t length;
};

constexpr std::uint16_t flag_next = 1;
constexpr std::uint16_t flag_write = 2;
constexpr std::uint16_t flag_indirect = 4;
constexpr std::uint16_t flag_no_interrupt = 1;

// Offsets in the two rings: flags, index, entries.
constexpr Gpa index_offset = 2;
constexpr Gpa entries_offset = 4;

tl::unexpected<Error> broken(std::string_view what) {
  return fail(Errc::bad_queue, 0, fmt::format("the guest's virtio driver broke a rule: {}", what));
}

} // namespace

Result<Queue> Queue::create(GuestRam& ram, const QueueLayout& layout) {
  if (!std::has_single_bit(layout.size) || layout.size > max_size)
    return broken(fmt::format("a queue of {} entries", layout.size));

  const struct {
    std::string_view name;
    Gpa start;
    std::uint64_t align, bytes;
  } parts[] = {{"descriptor table", layout.descriptors, 16, sizeof(Descriptor) * layout.size},
               {"available ring", layout.available, 2, entries_offset + 2 * layout.size},
               {"used ring", layout.used, 4, entries_offset + sizeof(UsedElement) * layout.size}};

  for (const auto& part : parts)
    if (part.start % part.align != 0 || !contains(ram.ranges(), part.start, part.bytes))
      return broken(
          fmt::format("its {} at {:#x} is not aligned or not in RAM", part.name, part.start));
  return Queue(ram, layout);
}

template <class T> Result<T> Queue::load(Gpa address) {
  std::array<std::byte, sizeof(T)> bytes{};
  if (auto ok = ram_->read(address, bytes); !ok) return forward(ok);
  return std::bit_cast<T>(bytes);
}

template <class T> Result<void> Queue::store(Gpa address, T value) {
  return ram_->write(address, std::bit_cast<std::array<std::byte, sizeof(T)>>(value));
}

Result<std::uint16_t> Queue::pending() {
  auto index = load<std::uint16_t>(layout_.available + index_offset);
  if (!index) return forward(index);
  const auto count = static_cast<std::uint16_t>(*index - next_available_);
  if (count > layout_.size)
    return broken(fmt::format("{} buffers available in a queue of {}", count, layout_.size));
  return count;
}

Result<bool> Queue::pop(Chain& chain) {
  chain.readable.clear();
  chain.writable.clear();
  auto count = pending();
  if (!count) return forward(count);
  if (*count == 0) return false;
  mmu::StdAtomics::fence_acquire(); // pairs with the driver's write barrier
  auto head = load<std::uint16_t>(layout_.available + entries_offset +
                                  2 * (next_available_ % layout_.size));
  if (!head) return forward(head);
  if (*head >= layout_.size) return broken(fmt::format("descriptor {} of {}", *head, layout_.size));
  chain.head = *head;
  if (auto ok = add(chain, layout_.descriptors, layout_.size, *head, true); !ok) return forward(ok);
  ++next_available_;
  return true;
}

Result<void> Queue::add(Chain& chain, Gpa table, std::uint32_t entries, std::uint32_t first,
                        bool direct) {
  std::uint32_t next = first;
  for (std::uint32_t count = 0;; ++count) {
    if (count == entries) return broken("a chain of descriptors that does not end");
    auto descriptor = load<Descriptor>(table + sizeof(Descriptor) * next);
    if (!descriptor) return forward(descriptor);
    const bool more = (descriptor->flags & flag_next) != 0;
    if ((descriptor->flags & flag_indirect) != 0) {
      const std::uint32_t inner = descriptor->length / std::uint32_t{sizeof(Descriptor)};
      if (!direct || more) return broken("an indirect table within a chain or a table");
      if (inner == 0 || inner > chain_limit || descriptor->length % sizeof(Descriptor) != 0 ||
          !contains(ram_->ranges(), descriptor->address, descriptor->length))
        return broken(fmt::format("an indirect table of {} bytes at {:#x}", descriptor->length,
                                  descriptor->address));
      return add(chain, descriptor->address, inner, 0, false);
    }
    if (auto ok = add_segment(chain, descriptor->address, descriptor->length,
                              (descriptor->flags & flag_write) != 0);
        !ok)
      return ok;
    if (!more) return {};
    if (descriptor->next >= entries)
      return broken(fmt::format("descriptor {} of {}", descriptor->next, entries));
    next = descriptor->next;
  }
}

Result<void> Queue::add_segment(Chain& chain, Gpa address, std::uint32_t length, bool writable) {
  if (!contains(ram_->ranges(), address, length))
    return broken(fmt::format("a buffer [{:#x}, +{:#x}) that is not in RAM", address, length));
  if (!writable && !chain.writable.empty()) return broken("a readable buffer after a writable one");
  if (length != 0) (writable ? chain.writable : chain.readable).push_back({address, length});
  return {};
}

Result<void> Queue::push(std::uint16_t head, std::uint32_t written) {
  const Gpa element =
      layout_.used + entries_offset + sizeof(UsedElement) * (next_used_ % layout_.size);
  if (auto ok = store(element, UsedElement{head, written}); !ok) return ok;
  mmu::StdAtomics::fence_release(); // pairs with the driver's read barrier
  ++next_used_;
  pushed_ = true;
  return store(layout_.used + index_offset, next_used_);
}

Result<bool> Queue::wants_interrupt() {
  if (!pushed_) return false;
  pushed_ = false;
  mmu::StdAtomics::fence(); // see the top
  auto flags = load<std::uint16_t>(layout_.available);
  if (!flags) return forward(flags);
  return (*flags & flag_no_interrupt) == 0;
}

Result<void> Queue::set_used_flags(std::uint16_t flags) {
  return store(layout_.used, flags);
}

Result<bool> Queue::enable_notifications() {
  if (auto ok = set_used_flags(0); !ok) return forward(ok);
  mmu::StdAtomics::fence(); // see the top
  auto count = pending();
  if (!count) return forward(count);
  return *count != 0;
}

} // namespace slat::vmm::virtio
