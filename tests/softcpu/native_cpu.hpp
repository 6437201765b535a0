// The real processor as a reference: runs one instruction with given registers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace slat::test {

struct NativeState {
  std::array<std::uint64_t, 16> gpr; // as instructions number them
  std::uint64_t rflags;
  std::uint64_t host_stack; // of the thunk
};

/// A page with a thunk. One at a time; not for several threads.
class NativeCpu {
 public:
  static constexpr std::size_t most_bytes = 32;

  NativeCpu();
  ~NativeCpu();
  NativeCpu(const NativeCpu&) = delete;
  NativeCpu& operator=(const NativeCpu&) = delete;

  /// Where the instructions are executed.
  [[nodiscard]] std::uint64_t address() const;
  /// Executes `code` (at most most_bytes; it must fall through at its end). Returns the signal that it raised, or 0;
  /// after a signal `state` is as before.
  int run(std::span<const std::uint8_t> code, NativeState& state);

 private:
  std::uint8_t* page_;
  std::size_t slot_ = 0;
  NativeState* state_;
};

} // namespace slat::test
