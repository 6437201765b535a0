// How a device reaches guest memory: by pins of the device translation cache, one at a time (I26).
#pragma once

#include "vmm/guest_ram.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace slat::vmm::virtio {

/// Calls `use(bytes, at)` for one pinned piece after the other of [address, address + length), in order: `bytes` is in
/// the host view, and `at` bytes come before it. `use` returns a Result<void>; an error ends it. It may sleep (for a
/// disk), and whoever takes the memory away waits for it; it must not touch guest memory in any other way. Waits for memory that the
/// host has made read-only for a while. No lock of mmu/ and no pin is held; sleeps. Errors: those of GuestRam::pin(),
/// and `use`'s.
template <class Use>
Result<void> each_pinned(GuestRam& ram, Gpa address, std::size_t length, std::uint32_t access,
                         Use use) {
  for (std::size_t done = 0; done < length;) {
    const std::uint64_t before = ram.read_only().before();
    auto pin = ram.pin(address + done, length - done, access);
    if (!pin && pin.error().code == Errc::read_only && ram.read_only().wait(before)) continue;
    if (!pin) return forward(pin);
    if (auto ok = use(pin->bytes(), done); !ok) return forward(ok);
    done += pin->bytes().size();
  }
  return {};
}

} // namespace slat::vmm::virtio
