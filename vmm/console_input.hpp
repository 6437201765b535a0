// ConsoleInput: a guest's console as whoever types sees it.
#pragma once

#include <cstddef>
#include <span>

namespace slat::vmm {

class ConsoleInput {
 public:
  virtual ~ConsoleInput() = default;

  /// Room for this many bytes, where there is room.
  static constexpr std::size_t input_piece = 256;
  /// Any thread; may wait for a sink of the device that is running. One thread alone receives.
  [[nodiscard]] virtual bool has_room() const = 0;
  /// Gives the guest bytes to read, input_piece at the most, after has_room(). Any thread but a sink's.
  virtual void receive(std::span<const char> bytes) = 0;
};

} // namespace slat::vmm
