// What a userfaultfd says: its messages, decoded.
#pragma once

#include "kvm/uapi.hpp"

#include <cstdint>
#include <variant>

namespace slat::kvm {

/// A thread waits at `address`. A missing page unless `minor` or `wp`. The address is the page's
/// start, or exact with UFFD_FEATURE_EXACT_ADDRESS. thread_id is 0 without UFFD_FEATURE_THREAD_ID.
struct FaultEvent {
  std::uint64_t address;
  bool write; // the access was a write; of a `minor` or missing fault a hint, of a `wp` fault
              // always set
  bool minor; // the page is in the file and not mapped: continue_range() resolves it
  bool wp;    // the page is mapped and write-protected: write_protect(..., Protect::no) resolves it
  std::uint32_t thread_id;
};

/// [start, end) was taken away by madvise(DONTNEED or REMOVE), fallocate() or truncation. It waits
/// to be read: until then installs answer EAGAIN.
struct RemoveEvent {
  std::uint64_t start;
  std::uint64_t end;
};

/// [start, end) was unmapped.
struct UnmapEvent {
  std::uint64_t start;
  std::uint64_t end;
};

/// `bytes` bytes went from `from` to `to` by mremap().
struct RemapEvent {
  std::uint64_t from;
  std::uint64_t to;
  std::uint64_t bytes;
};

/// A message that nothing in Userfaultfd::open() can have asked for.
struct UnknownEvent {
  std::uint8_t event; // UFFD_EVENT_*
};

using UffdEvent = std::variant<FaultEvent, RemoveEvent, UnmapEvent, RemapEvent, UnknownEvent>;

/// Never fails, does not allocate.
[[nodiscard]] UffdEvent decode_event(const uffd_msg& message) noexcept;

} // namespace slat::kvm
