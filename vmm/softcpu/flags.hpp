// Flags: the six arithmetic flags of RFLAGS, kept as what they are computed from.
//
// An instruction stores two words; a flag is worked out when somebody asks, which is seldom for most of them.
//   result_  the result, sign-extended to 64 bits: ZF, SF and PF come from it
//   aux_     bit 63: carry (borrow) out of the most significant bit; bit 62: carry into it; bit 3: carry out of
//            bit 3; bit 1: SF is inverted; bit 0: PF is inverted. OF is bit 63 xor bit 62.
// Any combination of flags can be represented, also those that no arithmetic gives (popf, sahf).
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <type_traits>

namespace slat::vmm::softcpu {

inline constexpr std::uint64_t rflags_cf = 1U << 0;
inline constexpr std::uint64_t rflags_fixed = 1U << 1; // always set
inline constexpr std::uint64_t rflags_pf = 1U << 2;
inline constexpr std::uint64_t rflags_af = 1U << 4;
inline constexpr std::uint64_t rflags_zf = 1U << 6;
inline constexpr std::uint64_t rflags_sf = 1U << 7;
inline constexpr std::uint64_t rflags_tf = 1U << 8;
inline constexpr std::uint64_t rflags_if = 1U << 9;
inline constexpr std::uint64_t rflags_df = 1U << 10;
inline constexpr std::uint64_t rflags_of = 1U << 11;
inline constexpr std::uint64_t rflags_iopl = 3U << 12;
inline constexpr std::uint64_t rflags_nt = 1U << 14;
inline constexpr std::uint64_t rflags_rf = 1U << 16;
inline constexpr std::uint64_t rflags_vm = 1U << 17;
inline constexpr std::uint64_t rflags_ac = 1U << 18;
inline constexpr std::uint64_t rflags_id = 1U << 21;
inline constexpr std::uint64_t rflags_arithmetic =
    rflags_cf | rflags_pf | rflags_af | rflags_zf | rflags_sf | rflags_of;

/// The value as it is, sign-extended.
template <std::unsigned_integral T> constexpr std::uint64_t sign_extend(T value) {
  return static_cast<std::uint64_t>(static_cast<std::int64_t>(std::make_signed_t<T>(value)));
}

class Flags {
 public:
  // What an instruction with operands of type T leaves.

  /// result = a + b (+ carry).
  template <std::unsigned_integral T> void add(T a, T b, T result) {
    result_ = sign_extend(result);
    aux_ = carries<T>(std::uint64_t{a}, std::uint64_t{b}, ~std::uint64_t{result});
  }

  /// result = a - b (- borrow).
  template <std::unsigned_integral T> void sub(T a, T b, T result) {
    result_ = sign_extend(result);
    aux_ = carries<T>(~std::uint64_t{a}, std::uint64_t{b}, std::uint64_t{result});
  }

  /// CF, OF and AF are clear.
  template <std::unsigned_integral T> void logic(T result) {
    result_ = sign_extend(result);
    aux_ = 0;
  }

  /// AF is clear.
  template <std::unsigned_integral T> void shift(T result, bool carry, bool overflow) {
    result_ = sign_extend(result);
    aux_ = std::uint64_t{carry} << 63 | std::uint64_t{carry != overflow} << 62;
  }

  [[nodiscard]] bool cf() const { return aux_ >> 63 != 0; }

  [[nodiscard]] bool of() const { return ((aux_ ^ aux_ << 1) >> 63) != 0; }

  [[nodiscard]] bool zf() const { return result_ == 0; }

  [[nodiscard]] bool sf() const { return (result_ >> 63 ^ (aux_ >> 1 & 1)) != 0; }

  [[nodiscard]] bool pf() const {
    return (static_cast<unsigned>(std::popcount(std::uint8_t(result_))) & 1U) == (aux_ & 1);
  }

  [[nodiscard]] bool af() const { return (aux_ & 8) != 0; }

  /// The others stay.
  void set_cf(bool value) {
    if (cf() != value) aux_ ^= 3ULL << 62;
  }

  void set_of(bool value) {
    if (of() != value) aux_ ^= 1ULL << 62;
  }

  void set_zf(bool value) { set((get() & ~rflags_zf) | (value ? rflags_zf : 0)); }

  /// As bits of RFLAGS; all other bits are 0.
  [[nodiscard]] std::uint64_t get() const {
    return (cf() ? rflags_cf : 0) | (pf() ? rflags_pf : 0) | (af() ? rflags_af : 0) |
           (zf() ? rflags_zf : 0) | (sf() ? rflags_sf : 0) | (of() ? rflags_of : 0);
  }

  /// From bits of RFLAGS; other bits do not count.
  void set(std::uint64_t rflags) {
    const bool zero = (rflags & rflags_zf) != 0;
    result_ = zero ? 0 : 1; // 0 has even parity, 1 odd
    const bool carry = (rflags & rflags_cf) != 0;
    aux_ = std::uint64_t{carry} << 63 | std::uint64_t{carry != ((rflags & rflags_of) != 0)} << 62 |
           ((rflags & rflags_af) != 0 ? 8U : 0U) | ((rflags & rflags_sf) != 0 ? 2U : 0U) |
           (((rflags & rflags_pf) != 0) != zero ? 1U : 0U);
  }

 private:
  /// The carry out of each bit is the majority of both operands and the inverted sum.
  template <class T>
  static std::uint64_t carries(std::uint64_t a, std::uint64_t b, std::uint64_t not_sum) {
    const std::uint64_t carry = (a & b) | ((a | b) & not_sum);
    return (carry << (64 - 8 * sizeof(T)) & 3ULL << 62) | (carry & 8);
  }

  std::uint64_t result_ = 1; // all flags clear: 1 has odd parity
  std::uint64_t aux_ = 0;
};

/// A condition as the low four bits of jcc, setcc and cmovcc have it.
inline bool condition(const Flags& flags, unsigned code) {
  bool holds = false;
  switch (code >> 1) {
  case 0:
    holds = flags.of();
    break;
  case 1:
    holds = flags.cf();
    break;
  case 2:
    holds = flags.zf();
    break;
  case 3:
    holds = flags.cf() || flags.zf();
    break;
  case 4:
    holds = flags.sf();
    break;
  case 5:
    holds = flags.pf();
    break;
  case 6:
    holds = flags.sf() != flags.of();
    break;
  default:
    holds = flags.zf() || flags.sf() != flags.of();
    break;
  }
  return holds != ((code & 1) != 0);
}

} // namespace slat::vmm::softcpu
