// The smallest guest: 2 MiB of RAM, page tables, one vCPU in 64-bit mode at CPL 0, and a few bytes
// of code.
#pragma once

#include "kvm/system.hpp"

#include <cstdint>
#include <gtest/gtest.h>
#include <initializer_list>
#include <optional>
#include <string>

namespace slat::kvm {

/// Why guests cannot run here, or nothing.
[[nodiscard]] std::optional<std::string> no_kvm();

/// In a test that needs /dev/kvm.
#define SLAT_NEEDS_KVM()                                                                           \
  if (const auto reason = ::slat::kvm::no_kvm()) GTEST_SKIP() << *reason

class Guest {
 public:
  static constexpr std::uint64_t ram_size = 2 << 20; // from gpa 0
  static constexpr std::uint64_t code_gpa = 0x8000;
  static constexpr std::uint64_t mmio_gpa = 0x10000000; // mapped by the guest, without memory
  static constexpr std::uint64_t mapped_size = 1 << 30; // the guest maps this much one to one
  static constexpr std::uint64_t data_gpa = 0x100000;

  /// A guest that runs `code` from its first instruction. Anything that fails throws: this is a
  /// test.
  explicit Guest(std::initializer_list<std::uint8_t> code);
  ~Guest();
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;

  [[nodiscard]] std::uint8_t* ram() const { return ram_; }

  [[nodiscard]] std::uint64_t hva(std::uint64_t gpa) const {
    return reinterpret_cast<std::uint64_t>(ram_) + gpa;
  }

  /// Goes on at CPL 3, with ports permitted. There every KVM runs the guest natively, and reports
  /// memory faults instead of emulating.
  void enter_user_mode();

  /// Runs to the next exit, which must be a T, and returns it.
  template <class T> T run_to() {
    const auto exit = vcpu.run();
    if (!exit) throw std::runtime_error(exit.error().message);
    if (!std::holds_alternative<T>(*exit))
      throw std::runtime_error("unexpected exit: " + to_string(*exit));
    return std::get<T>(*exit);
  }

  /// Changes the general registers.
  template <class F> void with_regs(F change) {
    kvm_regs regs = vcpu.get_regs().value();
    change(regs);
    ASSERT_TRUE(vcpu.set_regs(regs));
  }

  System system;
  Vm vm;
  Vcpu vcpu;

 private:
  void load(std::initializer_list<std::uint8_t> code);
  void enter_long_mode();

  std::uint8_t* ram_;
};

} // namespace slat::kvm
