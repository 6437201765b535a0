#include "vmm/serial.hpp"

#include <algorithm>

namespace slat::vmm {
namespace {

// Register offsets; the first two are the divisor while the divisor latch is open.
enum : unsigned {
  data_reg,
  ier_reg,
  iir_fcr_reg,
  lcr_reg,
  mcr_reg,
  lsr_reg,
  msr_reg,
  scr_reg,
  register_count
};

constexpr std::size_t received_limit = 4096; // bytes that wait for the guest

constexpr std::uint8_t ier_received = 0x01;
constexpr std::uint8_t ier_transmitter_empty = 0x02;
constexpr std::uint8_t ier_mask = 0x0f;
constexpr std::uint8_t iir_none = 0x01;
constexpr std::uint8_t iir_transmitter_empty = 0x02;
constexpr std::uint8_t iir_received = 0x04;
constexpr std::uint8_t iir_fifo = 0xc0;
constexpr std::uint8_t fcr_enable = 0x01;
constexpr std::uint8_t lcr_divisor_latch = 0x80;
constexpr std::uint8_t mcr_out2 = 0x08; // gates the interrupt line on PCs
constexpr std::uint8_t mcr_loopback = 0x10;
constexpr std::uint8_t mcr_mask = 0x1f;
constexpr std::uint8_t lsr_received = 0x01;
constexpr std::uint8_t lsr_ready = 0x60;     // transmit register and shifter both empty
constexpr std::uint8_t msr_connected = 0xb0; // carrier, data set ready, clear to send

/// In loopback DTR, RTS, OUT1, OUT2 come back as DSR, CTS, RI, DCD.
std::uint8_t loopback_status(std::uint8_t mcr) {
  unsigned msr = 0;
  if (mcr & 0x01) msr |= 0x20;
  if (mcr & 0x02) msr |= 0x10;
  if (mcr & 0x04) msr |= 0x40;
  if (mcr & 0x08) msr |= 0x80;
  return static_cast<std::uint8_t>(msr);
}

} // namespace

void Serial::write(std::uint16_t offset, unsigned unit, std::span<const std::byte> data) {
  if (unit == 0) return;
  const std::lock_guard lock(mutex_);
  const bool to_transmitter = offset == data_reg && (line_control_ & lcr_divisor_latch) == 0;
  if (unit == 1 && to_transmitter) {
    transmit({reinterpret_cast<const char*>(data.data()), data.size()});
  } else {
    // A wider access is one to each of the byte registers from there on.
    for (std::size_t i = 0; i < data.size(); ++i)
      write_register(offset + static_cast<unsigned>(i % unit),
                     std::to_integer<std::uint8_t>(data[i]));
  }
  update_line();
}

void Serial::read(std::uint16_t offset, unsigned unit, std::span<std::byte> data) {
  if (unit == 0) return;
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < data.size(); ++i)
    data[i] = std::byte{read_register(offset + static_cast<unsigned>(i % unit))};
  update_line();
}

void Serial::write_register(unsigned index, std::uint8_t value) {
  const bool latch = (line_control_ & lcr_divisor_latch) != 0;
  switch (index) {
  case data_reg: {
    const char byte = static_cast<char>(value);
    if (latch)
      divisor_ = static_cast<std::uint16_t>((divisor_ & 0xff00U) | value);
    else
      transmit({&byte, 1});
    break;
  }
  case ier_reg:
    if (latch) {
      divisor_ = static_cast<std::uint16_t>((divisor_ & 0x00ffU) | (unsigned{value} << 8));
    } else {
      // Enabling it while the transmitter is empty, as it always is, raises it at once.
      if (value & ~unsigned{interrupt_enable_} & ier_transmitter_empty) empty_pending_ = true;
      interrupt_enable_ = value & ier_mask;
    }
    break;
  case iir_fcr_reg:
    fifo_control_ = value;
    break;
  case lcr_reg:
    line_control_ = value;
    break;
  case mcr_reg:
    modem_control_ = value & mcr_mask;
    break;
  case scr_reg:
    scratch_ = value;
    break;
  default: // LSR, MSR and what lies past the device are not writable
    break;
  }
}

std::uint8_t Serial::read_register(unsigned index) {
  const bool latch = (line_control_ & lcr_divisor_latch) != 0;
  switch (index) {
  case data_reg:
    if (latch) return static_cast<std::uint8_t>(divisor_ & 0xff);
    if (received_.empty()) return 0;
    {
      const auto byte = static_cast<std::uint8_t>(received_.front());
      received_.pop_front();
      return byte;
    }
  case ier_reg:
    return latch ? static_cast<std::uint8_t>(divisor_ >> 8) : interrupt_enable_;
  case iir_fcr_reg: {
    const unsigned fifo = (fifo_control_ & fcr_enable) ? iir_fifo : 0;
    if (!received_.empty() && (interrupt_enable_ & ier_received) != 0)
      return static_cast<std::uint8_t>(fifo | iir_received); // until all of it is read
    if (!empty_pending_ || (interrupt_enable_ & ier_transmitter_empty) == 0)
      return static_cast<std::uint8_t>(fifo | iir_none);
    empty_pending_ = false; // reading the cause acknowledges it
    return static_cast<std::uint8_t>(fifo | iir_transmitter_empty);
  }
  case lcr_reg:
    return line_control_;
  case mcr_reg:
    return modem_control_;
  case lsr_reg:
    return received_.empty() ? lsr_ready : lsr_ready | lsr_received;
  case msr_reg:
    return (modem_control_ & mcr_loopback) ? loopback_status(modem_control_) : msr_connected;
  case scr_reg:
    return scratch_;
  default:
    return 0xff;
  }
}

void Serial::transmit(std::span<const char> bytes) {
  empty_pending_ = true;
  if (bytes.empty() || (modem_control_ & mcr_loopback) != 0) return;
  if (!first_byte_time_) first_byte_time_ = std::chrono::steady_clock::now();
  byte_count_ += bytes.size();
  if (sink_) sink_(bytes);
}

void Serial::update_line() {
  const bool wanted = (empty_pending_ && (interrupt_enable_ & ier_transmitter_empty) != 0) ||
                      (!received_.empty() && (interrupt_enable_ & ier_received) != 0);
  const bool raised =
      wanted && (modem_control_ & mcr_out2) != 0 && (modem_control_ & mcr_loopback) == 0;
  if (raised == line_raised_) return;
  line_raised_ = raised;
  if (line_) line_(raised);
}

bool Serial::has_room() const {
  const std::lock_guard lock(mutex_);
  return received_.size() <= received_limit - input_piece;
}

void Serial::receive(std::span<const char> bytes) {
  const std::lock_guard lock(mutex_);
  received_.insert(received_.end(), bytes.begin(), bytes.end());
  update_line();
}

std::optional<std::chrono::steady_clock::time_point> Serial::first_byte_time() const {
  const std::lock_guard lock(mutex_);
  return first_byte_time_;
}

std::uint64_t Serial::byte_count() const {
  const std::lock_guard lock(mutex_);
  return byte_count_;
}

} // namespace slat::vmm
