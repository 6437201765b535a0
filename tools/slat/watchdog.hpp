// Watchdog: notices a guest that makes no progress.
//
// Two signs, each held against one look a moment at the machine from outside:
//   silent  not one byte has come out of the serial port since the start
//   stuck   nothing moves: no byte, no exit of any vCPU, and every vCPU, seen again and again, has its interrupts off and
//           is where it was with the registers that it had, or does not come out of the guest to be seen
// Who waits in hlt for an interrupt has interrupts on; who computes has other registers the next time. So an idle guest is
// not stuck, nor a busy one; a guest that spins with interrupts on, and one that waits by reading the time, are not
// noticed either.
#pragma once

#include "vmm/vcpu_thread.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace slat::tool {

class Watchdog {
 public:
  using Clock = std::chrono::steady_clock;
  enum class Notice { none, silent, stuck };

  /// `patience`: how long a sign has to last.
  Watchdog(Clock::time_point start, Clock::duration patience)
      : patience_(patience), start_(start), still_since_(start) {}

  /// How often to look: often enough to meet a short loop at the same place twice.
  [[nodiscard]] static std::chrono::milliseconds interval(Clock::duration patience);

  /// One look: bytes of the serial port so far, and the vCPUs that run. Silent is said once; stuck once, and again after
  /// progress. One thread.
  [[nodiscard]] Notice look(Clock::time_point now, std::uint64_t serial_bytes,
                            std::span<const vmm::VcpuSample> vcpus);

  /// A vCPU with registers, as it was last seen while the sign lasted: on a busy host the last look may have come too
  /// early for an answer. None: no vCPU has come out of the guest since. The thread of look().
  [[nodiscard]] const std::optional<vmm::VcpuSample>& seen() const { return seen_; }

 private:
  struct Place {
    std::uint64_t rip;
    std::uint64_t cr3;
    auto operator<=>(const Place&) const = default;
  };

  struct Vcpu {
    std::uint64_t exits = 0;
    std::map<Place, vmm::CrashRegisters> seen;
  };

  [[nodiscard]] bool has_moved(Vcpu& vcpu, const vmm::VcpuSample& sample) const;

  const Clock::duration patience_;
  const Clock::time_point start_;
  Clock::time_point still_since_;
  std::uint64_t serial_bytes_ = 0;
  unsigned looks_ = 0; // since then
  std::vector<Vcpu> vcpus_;
  std::optional<vmm::VcpuSample> seen_;
  Clock::time_point seen_at_;
  bool silence_told_ = false;
  bool stuck_told_ = false;
};

/// The notice as one line: what, where (`seen`), and what to do. Reads guest memory: may sleep.
[[nodiscard]] std::string progress_notice(Watchdog::Notice notice, std::chrono::seconds patience,
                                          const std::optional<vmm::VcpuSample>& seen, bool is_linux,
                                          vmm::GuestMemory& memory);

} // namespace slat::tool
