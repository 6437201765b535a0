// Each form of instruction on random operands, against the processor that the test runs on: registers, flags, memory.
// SLAT_TEST_SEED and SLAT_TEST_CASES (of each form) repeat or lengthen a run.
#include "conformance_forms.hpp"
#include "describe_state.hpp"
#include "flat_memory.hpp"
#include "native_cpu.hpp"
#include "swapped_memory.hpp"
#include "vmm/softcpu/cpu.hpp"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <optional>

namespace slat::test {
namespace {

using namespace slat::vmm::softcpu;

constexpr std::uint64_t scratch_bytes = 16384;

class Conformance : public testing::Test {
 protected:
  struct Case {
    std::vector<std::uint8_t> code;
    NativeState state{};
    std::uint64_t undefined_flags = 0;
  };

  Conformance() : software_(memory_) {
    const char* seed = std::getenv("SLAT_TEST_SEED");
    seed_ = seed != nullptr ? std::strtoull(seed, nullptr, 0) : std::random_device{}();
    random_.seed(seed_);
    scratch_ = new (std::align_val_t{4096}) std::uint8_t[scratch_bytes];
    base_ = reinterpret_cast<std::uint64_t>(scratch_);
    copy_ = reinterpret_cast<std::uint8_t*>(memory_.add(base_, scratch_bytes));
    code_ = memory_.add(native_.address() & ~4095ULL, 4096);
  }

  ~Conformance() override { ::operator delete[](scratch_, std::align_val_t{4096}); }

  std::uint64_t value() {
    static constexpr std::uint64_t corners[] = {0,
                                                1,
                                                2,
                                                0x7f,
                                                0x80,
                                                0xff,
                                                0x7fff,
                                                0x8000,
                                                0x7fffffff,
                                                0x80000000,
                                                0xffffffff,
                                                0x7fffffffffffffff,
                                                0x8000000000000000,
                                                0xffffffffffffffff,
                                                0x5555555555555555};
    const std::uint64_t bits = random_();
    if (bits % 4 == 0) return corners[(bits >> 8) % std::size(corners)];
    if (bits % 4 == 1) return below(80); // counts, positions, lengths
    return random_() >> (bits >> 8) % 64;
  }

  unsigned below(unsigned limit) { return static_cast<unsigned>(random_() % limit); }

  ZydisRegister any_register(unsigned size, bool with_high) {
    if (size == 1) {
      // No high byte next to what needs a REX prefix.
      const unsigned number = with_high ? below(8) : below(20);
      if (!with_high && number >= 4 && number < 8) return ZYDIS_REGISTER_AL;
      if (number == 8) return ZYDIS_REGISTER_AL; // spl
      return static_cast<ZydisRegister>(ZYDIS_REGISTER_AL + static_cast<int>(number));
    }
    unsigned number = below(16);
    if (number == rsp) number = 5;
    const auto base = size == 2   ? ZYDIS_REGISTER_AX
                      : size == 4 ? ZYDIS_REGISTER_EAX
                                  : ZYDIS_REGISTER_RAX;
    return static_cast<ZydisRegister>(base + static_cast<int>(number));
  }

  std::optional<Case> make(const Form& form) {
    Case made;
    for (auto& reg : made.state.gpr) reg = value();
    made.state.gpr[rsp] = base_ + 8192 + 8 * below(64);
    made.state.rflags = (random_() & (rflags_arithmetic | rflags_df)) | rflags_if | rflags_fixed;
    for (std::size_t i = 0; i < scratch_bytes; i += 8) {
      const std::uint64_t word = value();
      std::memcpy(scratch_ + i, &word, 8);
    }
    if (below(8) == 0) { // equal operands, for what compares
      const int pattern = static_cast<int>(below(256));
      std::memset(scratch_, pattern, scratch_bytes);
      for (std::size_t i = 0; i < 16; ++i)
        if (i != rsp) std::memset(&made.state.gpr[i], pattern, 8);
    }
    made.undefined_flags = form.undefined_flags;
    prepare(form, made);
    if (!form.bytes.empty()) {
      made.code = form.bytes;
      return made;
    }
    return encode(form, made) ? std::optional(made) : std::nullopt;
  }

  void prepare(const Form& form, Case& made) {
    auto& gpr = made.state.gpr;
    if (form.setup == Setup::string) {
      gpr[rsi] = base_ + 4096 + below(4096);
      gpr[rdi] = base_ + 4096 + below(4096);
      if (below(4) == 0) gpr[rdi] = gpr[rsi] + below(32) - 16; // overlapping
      gpr[rcx] = below(2) == 0 ? below(20) : below(300);
    } else if (form.setup == Setup::divide && below(2) == 0) {
      const std::uint64_t sign = below(2) == 0 ? 0 : UINT64_MAX;
      gpr[rdx] = sign;
      if (form.size == 1) gpr[rax] = (gpr[rax] & 0x7f) | (sign & 0xff80);
    } else if (form.setup == Setup::count16) {
      gpr[rcx] = (gpr[rcx] & ~255ULL) | below(form.size == 2 ? 17 : 64);
    } else if (form.setup == Setup::flags_on_stack) {
      const std::uint64_t flags =
          (random_() & (rflags_arithmetic | rflags_df)) | rflags_if | rflags_fixed;
      std::memcpy(scratch_ + (gpr[rsp] - base_), &flags, 8);
    }
  }

  bool encode(const Form& form, Case& made) {
    ZydisEncoderRequest request{};
    request.machine_mode = ZYDIS_MACHINE_MODE_LONG_64;
    request.mnemonic = form.mnemonic;
    if (form.locked) request.prefixes = ZYDIS_ATTRIB_HAS_LOCK;
    request.operand_count = static_cast<ZyanU8>(form.operands.size());
    auto& gpr = made.state.gpr;
    unsigned count = 1;
    const bool has_memory =
        std::find(form.operands.begin(), form.operands.end(), Operand::mem) != form.operands.end();
    const bool high = !has_memory && form.size == 1 && form.last_size == 0 && below(2) == 0;
    for (std::size_t i = 0; i < form.operands.size(); ++i) {
      const bool last = i + 1 == form.operands.size();
      const unsigned size = last && form.last_size != 0 ? form.last_size : form.size;
      auto& operand = request.operands[i];
      switch (form.operands[i]) {
      case Operand::reg:
        operand.type = ZYDIS_OPERAND_TYPE_REGISTER;
        operand.reg.value = any_register(size, high);
        break;
      case Operand::mem:
        operand.type = ZYDIS_OPERAND_TYPE_MEMORY;
        operand.mem.size =
            form.mnemonic == ZYDIS_MNEMONIC_LEA ? ZyanU16{8} : static_cast<ZyanU16>(size);
        set_address(form, operand, made);
        break;
      case Operand::cl:
        operand.type = ZYDIS_OPERAND_TYPE_REGISTER;
        operand.reg.value = ZYDIS_REGISTER_CL;
        count = gpr[rcx] & 255; // an address in rcx was set before: memory comes first
        break;
      default:
        operand.type = ZYDIS_OPERAND_TYPE_IMMEDIATE;
        count = set_immediate(form, form.operands[i], operand);
        break;
      }
    }
    if (form.setup == Setup::bit_offset) {
      const auto number =
          static_cast<std::size_t>(ZydisRegisterGetId(request.operands[1].reg.value));
      const auto base = static_cast<std::size_t>(ZydisRegisterGetId(request.operands[0].mem.base));
      if (number == base) return false;
      gpr[number] = (gpr[number] & ~0xffffULL) | below(4096);
      if (form.size > 2) gpr[number] &= 0xffff;
      if (below(2) == 0) gpr[number] = ~gpr[number];
    }
    std::array<std::uint8_t, ZYDIS_MAX_INSTRUCTION_LENGTH> bytes{};
    ZyanUSize length = bytes.size();
    const ZyanStatus status = ZydisEncoderEncodeInstruction(&request, bytes.data(), &length);
    if (!ZYAN_SUCCESS(status)) return false;
    made.code.assign(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length));
    if (form.shift || form.rotate) {
      count &= form.size == 8 ? 63 : 31;
      // An address in rcx: the result of such a count is undefined.
      if (form.setup == Setup::count16 && count > 8 * form.size) return false;
      if (count > 1) made.undefined_flags |= rflags_of;
      if (form.shift && count != 0) made.undefined_flags |= rflags_af;
      if (form.shift && count >= 8 * form.size) made.undefined_flags |= rflags_cf;
    }
    return true;
  }

  /// Base, sometimes an index, and a displacement, inside of the scratch memory.
  void set_address(const Form& form, ZydisEncoderOperand& operand, Case& made) {
    auto& gpr = made.state.gpr;
    unsigned base = below(16);
    if (base == rsp) base = rbx;
    // What instructions use implicitly may well be the base; a count in cl makes too many addresses invalid.
    operand.mem.base = static_cast<ZydisRegister>(ZYDIS_REGISTER_RAX + static_cast<int>(base));
    const bool aligned = form.setup == Setup::aligned || form.setup == Setup::bit_offset;
    const std::uint64_t offset = aligned ? 16 * below(256) : below(4096);
    gpr[base] = base_ + 4096 + offset;
    operand.mem.displacement =
        aligned ? 16 * (static_cast<int>(below(64)) - 32) : static_cast<int>(below(2000)) - 1000;
    if (!aligned && below(2) == 0) {
      unsigned index = below(16);
      if (index == rsp || index == base) return;
      operand.mem.index = static_cast<ZydisRegister>(ZYDIS_REGISTER_RAX + static_cast<int>(index));
      operand.mem.scale = static_cast<ZyanU8>(1U << below(4));
      gpr[index] = below(128) - (below(2) == 0 ? 0ULL : 64ULL);
    }
  }

  unsigned set_immediate(const Form& form, Operand kind, ZydisEncoderOperand& operand) {
    if (kind == Operand::one) {
      operand.imm.s = 1;
    } else if (kind == Operand::quad) {
      operand.imm.u = value();
    } else if (kind == Operand::imm8 || form.size == 1) {
      operand.imm.s = static_cast<std::int8_t>(value());
      if (form.shift || form.rotate ||
          form.undefined_flags == (rflags_of | rflags_sf | rflags_af | rflags_pf) ||
          form.mnemonic == ZYDIS_MNEMONIC_RORX)
        operand.imm.u = operand.imm.u & 127;
      if (form.setup == Setup::count16 && form.size == 2) operand.imm.u %= 17;
    } else if (form.size == 2) {
      operand.imm.s = static_cast<std::int16_t>(value());
    } else {
      operand.imm.s = static_cast<std::int32_t>(value());
    }
    return static_cast<unsigned>(operand.imm.u);
  }

  void put_code(const Case& made) {
    std::memset(code_, 0xf4, 4096); // hlt
    std::memcpy(code_ + native_.address() % 4096, made.code.data(), made.code.size());
  }

  Exit start(Cpu& cpu, const Case& made) {
    CpuState& state = cpu.state();
    state = {};
    std::copy(made.state.gpr.begin(), made.state.gpr.end(), state.gpr.begin());
    state.set_rflags(made.state.rflags);
    state.rip = native_.address();
    return cpu.run();
  }

  /// With `swapped` as the memory of `cpu`, against memory that is always there. What differs, or nothing.
  std::string run_swapped(const Case& made, SwappedMemory& swapped, Cpu& cpu) {
    std::memcpy(copy_, scratch_, scratch_bytes);
    put_code(made);
    swapped.add(base_, scratch_, scratch_bytes);
    swapped.add(native_.address() & ~4095ULL, code_, 4096);
    cpu.state_changed();
    const Exit wanted = start(software_, made);
    const Exit exit = start(cpu, made);
    if (exit.index() != wanted.index())
      return fmt::format("exit {} not {}", exit.index(), wanted.index());
    std::string wrong;
    if (const auto have = describe(cpu.state()), want = describe(software_.state()); have != want)
      wrong = "\n" + have + "not\n" + want;
    for (std::uint64_t at = 0; at < scratch_bytes; at += 4096)
      if (std::memcmp(swapped.content(base_ + at), copy_ + at, 4096) != 0)
        wrong += fmt::format(" memory of page {}", at / 4096);
    return wrong;
  }

  /// What differs, or nothing.
  std::string run(const Case& made) {
    std::memcpy(copy_, scratch_, scratch_bytes);
    NativeState native = made.state;
    const int signal = native_.run(made.code, native);

    put_code(made);
    const CpuState& state = software_.state();
    const Exit exit = start(software_, made);

    std::string wrong;
    if (const auto* stopped = std::get_if<Unsupported>(&exit))
      return "unsupported: " + stopped->what;
    if (std::holds_alternative<kvm::Shutdown>(exit) != (signal != 0))
      return fmt::format("signal {} but exit {}", signal, exit.index());
    if (signal != 0) return {};
    if (!std::holds_alternative<kvm::Hlt>(exit)) return fmt::format("exit {}", exit.index());
    if (state.rip != native_.address() + made.code.size() + 1)
      wrong += fmt::format(" rip {:#x}", state.rip - native_.address());
    for (std::size_t i = 0; i < 16; ++i) {
      if (state.gpr[i] != native.gpr[i])
        wrong += fmt::format(" r{} {:#x} not {:#x}", i, state.gpr[i], native.gpr[i]);
    }
    const std::uint64_t compared = (rflags_arithmetic | rflags_df) & ~made.undefined_flags;
    if (((state.rflags() ^ native.rflags) & compared) != 0)
      wrong += fmt::format(" rflags {:#x} not {:#x}", state.rflags() & compared,
                           native.rflags & compared);
    if (std::memcmp(copy_, scratch_, scratch_bytes) != 0) {
      const auto at = std::mismatch(copy_, copy_ + scratch_bytes, scratch_).first - copy_;
      wrong += fmt::format(" memory at {:#x}: {:#x} not {:#x}", at, copy_[at], scratch_[at]);
    }
    return wrong;
  }

  FlatMemory memory_;
  NativeCpu native_;
  Cpu software_;
  std::uint64_t seed_;
  std::mt19937_64 random_;
  std::uint8_t* scratch_; // what the real processor works on
  std::uint64_t base_;    // its address, which is the guest's address of the copy
  std::uint8_t* copy_;
  std::byte* code_;
};

// Of each form: more than 100,000 in all, but for sanitizers, which look for other things and are slow.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr unsigned default_cases = 16;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
constexpr unsigned default_cases = 16;
#else
constexpr unsigned default_cases = 160;
#endif
#else
constexpr unsigned default_cases = 160;
#endif

TEST_F(Conformance, EveryFormDoesWhatTheRealProcessorDoes) {
  const char* wanted = std::getenv("SLAT_TEST_CASES");
  const unsigned each =
      wanted != nullptr ? static_cast<unsigned>(std::atoi(wanted)) : default_cases;
  const std::vector<Form> forms = all_forms();
  std::uint64_t cases = 0;
  unsigned failed_forms = 0;
  fmt::print("seed {}, {} forms\n", seed_, forms.size());
  for (const Form& form : forms) {
    unsigned done = 0, failures = 0;
    for (unsigned tries = 0; done < each && tries < 4 * each; ++tries) {
      const auto made = make(form);
      if (!made) continue;
      ++done;
      if (const std::string wrong = run(*made); !wrong.empty()) {
        if (++failures == 1) {
          ADD_FAILURE() << form.name << " (seed " << seed_ << "):" << wrong
                        << fmt::format("\n  bytes {:02x} flags before {:#x}",
                                       fmt::join(made->code, " "), made->state.rflags);
        }
      }
    }
    if (failures != 0)
      ++failed_forms, fmt::print("{}: {} of {} wrong\n", form.name, failures, done);
    EXPECT_GE(done, each) << form.name << " was not covered";
    cases += done;
    if (std::getenv("SLAT_TEST_TABLE") != nullptr) fmt::print("{:40} {}\n", form.name, done);
  }
  fmt::print("{} cases, {} forms wrong\n", cases, failed_forms);
  EXPECT_GE(cases, std::min<std::uint64_t>(100000, std::uint64_t{each} * forms.size()));
}

TEST_F(Conformance, EveryFormDoesTheSameWherePagesComeAndGo) {
  fmt::print("seed {}\n", seed_);
  SwappedMemory swapped;
  Cpu cpu(swapped);
  swapped.take_away(cpu.flush(), 3, seed_);
  for (const Form& form : all_forms()) {
    if (form.bytes.empty() &&
        std::find(form.operands.begin(), form.operands.end(), Operand::mem) == form.operands.end())
      continue;
    for (unsigned tries = 0; tries < 6; ++tries) {
      const auto made = make(form);
      if (!made) continue;
      const std::string wrong = run_swapped(*made, swapped, cpu);
      EXPECT_EQ(wrong, "") << form.name << " (seed " << seed_ << ")"
                           << fmt::format("\n  bytes {:02x}", fmt::join(made->code, " "));
      if (!wrong.empty()) break;
    }
  }
  EXPECT_GT(cpu.stage2_faults(), 5000);
}

} // namespace
} // namespace slat::test
