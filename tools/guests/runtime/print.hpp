// Text on the serial port. One line at a time by one vCPU; lines end in CR LF, as on any serial
// line.
#pragma once

#include "guests/command_line.hpp"

#include <cstddef>
#include <cstdint>

namespace slat::guest {

/// Sends bytes as they are. Polls the line status before each 16; gives up for good when the port
/// never gets ready, so that a machine without one does not hang.
void serial_write(const char* data, std::size_t size);

struct Hex {
  std::uint64_t value;
  unsigned digits = 1; // at least
};

/// Collects a line and sends it in pieces of up to 128 bytes.
class Line {
 public:
  Line() = default;
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;
  ~Line(); // ends the line

  void put(Text text);
  void put(std::uint64_t number);
  void put(Hex number);

 private:
  void put_char(char c);

  char buffer_[128];
  std::size_t used_ = 0;
};

template <class... Parts> void print_line(const Parts&... parts) {
  Line line;
  (line.put(parts), ...);
}

} // namespace slat::guest
