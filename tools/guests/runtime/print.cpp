#include "guests/runtime/print.hpp"

#include "guests/abi.hpp"
#include "guests/runtime/io.hpp"

namespace slat::guest {

namespace {

constexpr std::size_t fifo_size = 16;

bool wait_ready() {
  static bool dead = false; // both ways of a race between vCPUs are right
  if (__atomic_load_n(&dead, __ATOMIC_RELAXED)) return false;
  for (int tries = 0; tries < 10'000; ++tries) {
    if ((in8(serial_lsr_port) & serial_lsr_ready) != 0) return true;
    pause();
  }
  __atomic_store_n(&dead, true, __ATOMIC_RELAXED);
  return false;
}

} // namespace

void serial_write(const char* data, std::size_t size) {
  while (size != 0 && wait_ready()) {
    const std::size_t piece = size < fifo_size ? size : fifo_size;
    out8_string(serial_port, data, piece);
    data += piece;
    size -= piece;
  }
}

Line::~Line() {
  put_char('\r');
  put_char('\n');
  serial_write(buffer_, used_);
}

void Line::put(Text text) {
  for (std::size_t i = 0; i < text.size; ++i) {
    const char c = text.data[i];
    put_char(c >= ' ' && c <= '~' ? c : '?'); // a command line may hold anything
  }
}

void Line::put(std::uint64_t number) {
  char digits[20];
  std::size_t count = 0;
  do {
    digits[count++] = static_cast<char>('0' + number % 10);
    number /= 10;
  } while (number != 0);
  while (count != 0) put_char(digits[--count]);
}

void Line::put(Hex number) {
  put(Text{"0x"});
  unsigned digits = 16;
  while (digits > number.digits && number.value >> (4 * (digits - 1)) == 0) --digits;
  while (digits-- != 0) put_char("0123456789abcdef"[number.value >> (4 * digits) & 15]);
}

void Line::put_char(char c) {
  if (used_ == sizeof buffer_) {
    serial_write(buffer_, used_);
    used_ = 0;
  }
  buffer_[used_++] = c;
}

} // namespace slat::guest
