#include "slat/watchdog.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace slat::tool {

namespace {

constexpr std::uint64_t interrupt_flag = 1u << 9;
constexpr unsigned looks_at_least = 8;

bool same(const vmm::CrashRegisters& a, const vmm::CrashRegisters& b) {
  const auto general = [](const vmm::CrashRegisters& r) {
    return std::array{r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.rsp,
                      r.r8,  r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15};
  };
  return general(a) == general(b);
}

} // namespace

std::chrono::milliseconds Watchdog::interval(Clock::duration patience) {
  const auto part = std::chrono::duration_cast<std::chrono::milliseconds>(patience) / 32;
  return std::clamp(part, std::chrono::milliseconds(20), std::chrono::milliseconds(1000));
}

bool Watchdog::has_moved(Vcpu& vcpu, const vmm::VcpuSample& sample) const {
  if (std::exchange(vcpu.exits, sample.exits) != sample.exits) return true;
  if (!sample.registers) return false; // perhaps in a fault that is never served
  if ((sample.registers->rflags & interrupt_flag) != 0) return true;
  const auto [place, is_new] =
      vcpu.seen.try_emplace({sample.registers->rip, sample.registers->cr3}, *sample.registers);
  return !is_new && !same(place->second, *sample.registers);
}

Watchdog::Notice Watchdog::look(Clock::time_point now, std::uint64_t serial_bytes,
                                std::span<const vmm::VcpuSample> vcpus) {
  const auto answer =
      std::ranges::find_if(vcpus, [](const auto& vcpu) { return !!vcpu.registers; });
  if (answer != vcpus.end()) {
    seen_ = *answer;
    seen_at_ = now;
  } else if (now - seen_at_ >= patience_) {
    seen_.reset();
  }
  if (serial_bytes == 0 && now - start_ >= patience_ && !silence_told_) {
    silence_told_ = true;
    stuck_told_ = true; // one line is enough
    return Notice::silent;
  }
  bool moved = std::exchange(serial_bytes_, serial_bytes) != serial_bytes;
  if (vcpus_.size() != vcpus.size()) {
    vcpus_.resize(vcpus.size());
    moved = true;
  }
  for (std::size_t i = 0; i < vcpus.size(); ++i) moved |= has_moved(vcpus_[i], vcpus[i]);
  if (moved) {
    still_since_ = now;
    looks_ = 0;
    stuck_told_ = serial_bytes == 0 && stuck_told_;
    for (Vcpu& vcpu : vcpus_) vcpu.seen.clear();
    return Notice::none;
  }
  ++looks_;
  // Many places, each seen once, are no loop yet.
  const bool repeats = std::ranges::all_of(
      vcpus_, [this](const Vcpu& vcpu) { return vcpu.seen.size() * 2 <= looks_; });
  if (stuck_told_ || vcpus.empty() || looks_ < looks_at_least || !repeats ||
      now - still_since_ < patience_)
    return Notice::none;
  stuck_told_ = true;
  return Notice::stuck;
}

std::string progress_notice(Watchdog::Notice notice, std::chrono::seconds patience,
                            const std::optional<vmm::VcpuSample>& seen, bool is_linux,
                            vmm::GuestMemory& memory) {
  std::string line =
      notice == Watchdog::Notice::silent
          ? fmt::format("no sign of life of the guest: not a byte on its serial port in {} s",
                        patience.count())
          : fmt::format("the guest makes no progress: for {} s no vCPU has done anything but go "
                        "round in one place with its interrupts off",
                        patience.count());
  if (seen)
    line += fmt::format("; vCPU {} is at {:#x} in ring {} ({})", seen->index, seen->registers->rip,
                        seen->registers->cpl, instruction_at(*seen->registers, memory));
  else
    line += "; no vCPU comes out of the guest: it may wait for memory of the host";
  line += is_linux ? "; Linux says more with console=ttyS0 in --cmdline and without quiet, and "
                     "`slat doctor` what this host can boot"
                   : "; `slat doctor` says what this host can boot";
  return line + "; it goes on (Ctrl-C ends it, --progress-timeout 0 keeps this quiet)";
}

} // namespace slat::tool
