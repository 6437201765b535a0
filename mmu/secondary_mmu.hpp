// What mmu/ needs from outside to make its decisions take effect.
#pragma once

#include <cstddef>
#include <cstdint>

namespace slat::mmu {

enum class InstallStatus {
  installed,         // all of the run
  partial,           // the first `pages` of the run; fault the rest in again if it is needed
  already_installed, // somebody was there first; the faulting thread, if any, has been woken
  retry,             // the mapping is changing underneath: start again
  gone,              // the range is no longer there (unmapped, or unregistered)
  no_memory,
  failed, // anything else; a bug or a broken host
};

/// A run of pages, in a row in the guest view and in the host view.
struct InstallRequest {
  std::uintptr_t address = 0; // page aligned, in the guest view
  std::byte* host = nullptr;  // the same bytes in the host view
  std::size_t pages = 0;
  bool writable = false;
};

struct InstallResult {
  InstallStatus status;
  std::size_t pages; // installed by this call
};

/// Where resolved faults end up: KVM's stage-2 behind a guest view that userfaultfd guards, or
/// slat's own.
class SecondaryMmu {
 public:
  virtual ~SecondaryMmu() = default;
  /// Maps the run. Called with its pages locked and present and with the staleness check done, so it must
  /// not take page, VMA or mm locks; it may make system calls, and must not throw. Wakes whoever waits for
  /// the range.
  [[nodiscard]] virtual InstallResult install(const InstallRequest& run) = 0;

  /// Whether install() can map a page read-only that its VMA lets everybody write to. If not, a page whose writes
  /// are tracked counts as written when it is installed.
  [[nodiscard]] virtual bool can_write_protect() const { return true; }
};

/// Something that caches translations and must drop them before a page is freed (a software TLB;
/// KVM flushes by itself when the guest view is zapped).
class TlbFlusher {
 public:
  virtual ~TlbFlusher() = default;
  /// No translation of [start, end) is used after this returns. May sleep; no page lock is held.
  virtual void flush_range(std::uintptr_t start, std::uintptr_t end) = 0;
};

} // namespace slat::mmu
