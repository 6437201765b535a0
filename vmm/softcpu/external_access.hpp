// ExternalAccess: what an instruction asks of a device: port or MMIO.
//
// An instruction that needs a device stops, the access is served, and the instruction starts again from its
// beginning; accesses that were served before are answered from the log. So no instruction is ever half done.
#pragma once

#include "mmu/assert.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace slat::vmm::softcpu {

struct ExternalAccess {
  enum class Kind : std::uint8_t { port_in, port_out, mmio_read, mmio_write } kind;
  std::uint8_t size;     // bytes, 1 to 8
  std::uint64_t address; // port or guest physical address
  std::uint64_t value;   // what was read, or is to be written
};

class ExternalLog {
 public:
  /// True: it is served, and `access.value` is what was read. False: it is pending now.
  [[nodiscard]] bool perform(ExternalAccess& access) {
    if (replayed_ < served_) {
      access.value = log_[replayed_++].value;
      return true;
    }
    SLAT_CHECK(served_ < log_.size(), "an instruction with too many device accesses");
    log_[served_] = access;
    pending_ = true;
    return false;
  }

  [[nodiscard]] bool pending() const { return pending_; }

  /// The pending access: whoever serves it sets `value` of a read.
  [[nodiscard]] ExternalAccess& access() { return log_[served_]; }

  /// It is served: start the instruction again.
  void serve() {
    pending_ = false;
    ++served_;
    replayed_ = 0;
  }

  [[nodiscard]] bool replaying() const { return served_ != 0; }

  /// The instruction starts again for another reason; what is served stays so.
  void restart() { replayed_ = 0; }

  /// The instruction, or one round of a repeated one, is done.
  void retire() { served_ = replayed_ = 0; }

  /// Nothing is pending or logged.
  void reset() {
    retire();
    pending_ = false;
  }

 private:
  std::array<ExternalAccess, 8> log_{};
  std::size_t served_ = 0;
  std::size_t replayed_ = 0;
  bool pending_ = false;
};

} // namespace slat::vmm::softcpu
