// Queue: the device's side of a split virtqueue. After virtio 1.2, section 2.7.
//
// The driver is not trusted: whatever it writes, no access leaves guest RAM, no chain is longer than chain_limit, and
// every loop ends. A rule that it breaks is an error, after which the device wants to be reset.
//
// Orderings, each between this thread and the driver's CPU:
//   pop():  the available index, acquire fence, ring entry and descriptors      pairs with the driver's write barrier
//                                                                               between entry and index
//   push(): used element, release fence, used index                             pairs with its read barrier
//   wants_interrupt(): used index, full fence, the driver's "no interrupt"      pairs with the full barrier between its
//                                                                               flag and its last look at the used index
//   enable_notifications(): our "no notification" cleared, full fence,          pairs with the full barrier between its
//                           available index                                     index and its look at our flag
#pragma once

#include "vmm/guest_ram.hpp"

#include <cstdint>
#include <optional>
#include <vector>

namespace slat::vmm::virtio {

/// Where a driver has put a queue.
struct QueueLayout {
  std::uint32_t size = 0; // entries
  Gpa descriptors = 0;    // descriptor table
  Gpa available = 0;      // driver area
  Gpa used = 0;           // device area
};

/// A part of a buffer. All of it is guest RAM.
struct Segment {
  Gpa address;
  std::uint32_t length; // bytes, not 0
};

/// One buffer of the driver's.
struct Chain {
  std::uint16_t head = 0;
  std::vector<Segment> readable = {}; // by the device; in order
  std::vector<Segment> writable = {};
};

class Queue {
 public:
  static constexpr std::uint32_t max_size = 256;
  /// Descriptors of one chain, indirect ones too.
  static constexpr std::uint32_t chain_limit = 1024;

  /// Errors: bad_queue where the layout breaks a rule (a size that is no power of two up to max_size, an address that is
  /// not aligned or not RAM). The RAM outlives it.
  static Result<Queue> create(GuestRam& ram, const QueueLayout& layout);

  // One thread at a time uses it. All sleep, as GuestRam::pin() does. Errors of all: bad_queue, and those of GuestRam.

  /// The next buffer, or none. `chain` is the caller's, so that its room is used again.
  Result<bool> pop(Chain& chain);

  /// Puts the buffer that pop() gave last back, as if it had not been taken.
  void unpop() { --next_available_; }

  /// Gives a buffer back, `written` bytes of its writable part filled.
  Result<void> push(std::uint16_t head, std::uint32_t written);

  /// Whether the driver wants an interrupt for what has been pushed since the last call.
  Result<bool> wants_interrupt();

  /// From now on the driver need not tell of new buffers, as long as the device looks by itself.
  Result<void> disable_notifications() { return set_used_flags(1); }

  /// From now on it must; true if there are buffers already.
  Result<bool> enable_notifications();

 private:
  Queue(GuestRam& ram, const QueueLayout& layout) : ram_(&ram), layout_(layout) {}

  template <class T> Result<T> load(Gpa address);
  template <class T> Result<void> store(Gpa address, T value);
  Result<std::uint16_t> pending();
  Result<void> set_used_flags(std::uint16_t flags);
  Result<void> add(Chain& chain, Gpa table, std::uint32_t entries, std::uint32_t first,
                   bool direct);
  Result<void> add_segment(Chain& chain, Gpa address, std::uint32_t length, bool writable);

  GuestRam* ram_;
  QueueLayout layout_;
  std::uint16_t next_available_ = 0; // both count up and wrap
  std::uint16_t next_used_ = 0;
  bool pushed_ = false; // since the last wants_interrupt()
};

} // namespace slat::vmm::virtio
