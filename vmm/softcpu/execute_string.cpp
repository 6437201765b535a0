// movs stos lods scas cmps with rep, repe and repne.
//
// Every round is committed before the next, so a fault leaves the registers where the instruction can go on.
#include "vmm/softcpu/instruction.hpp"

#include <algorithm>

namespace slat::vmm::softcpu {
namespace {

/// Rounds (or cache lines) of one repeated instruction before the vCPU looks for requests: rip stays, so it goes on afterwards.
constexpr std::uint64_t rounds_at_once = 4096;

template <class T> std::uint64_t step(const Core& core) {
  return (core.state.system_flags & rflags_df) != 0 ? -std::uint64_t{sizeof(T)} : sizeof(T);
}

std::uint64_t source_base(const Core& core, const MicroOp& op) {
  return op.segment == 0 ? 0 : core.state.segments[op.segment].base;
}

// Long forward repeats of movs and stos go to the end of a page at once, by words where both sides agree in alignment:
// the processor's fast string operations do so too.

constexpr std::uint64_t worthwhile = 16; // rounds

std::uint64_t room(std::uint64_t linear) {
  return page_bytes - (linear & page_offset_mask);
}

std::uint64_t misalignment(const std::byte* at) {
  return reinterpret_cast<std::uintptr_t>(at) % 8;
}

template <class T> void fill_host(std::byte* to, T value, std::uint64_t count) {
  for (; count != 0 && misalignment(to) != 0; --count, to += sizeof(T)) store_host<T>(to, value);
  std::uint64_t word = value;
  for (unsigned bits = 8 * sizeof(T); bits < 64; bits *= 2) word |= word << bits;
  constexpr std::uint64_t in_word = 8 / sizeof(T);
  for (; misalignment(to) == 0 && count >= in_word; count -= in_word, to += 8)
    store_host<std::uint64_t>(to, word);
  for (; count != 0; --count, to += sizeof(T)) store_host<T>(to, value);
}

template <class T> void copy_host(std::byte* to, std::byte* from, std::uint64_t count) {
  const auto distance =
      reinterpret_cast<std::uintptr_t>(to) - reinterpret_cast<std::uintptr_t>(from);
  const auto one = [&] {
    store_host<T>(to, load_host<T>(from));
    to += sizeof(T), from += sizeof(T), --count;
  };
  // Where the destination is less than a word ahead, a round reads what the one before wrote.
  if (distance % 8 == 0 && distance != 0) {
    while (count != 0 && misalignment(to) != 0) one();
    constexpr std::uint64_t in_word = 8 / sizeof(T);
    for (; misalignment(to) == 0 && count >= in_word; count -= in_word, to += 8, from += 8)
      store_host<std::uint64_t>(to, load_host<std::uint64_t>(from));
  }
  while (count != 0) one();
}

struct Movs {
  static constexpr bool compares = false;

  /// Does up to `most` rounds and returns how many.
  template <class T> static std::uint64_t many(Core& core, const MicroOp& op, std::uint64_t most) {
    auto& gpr = core.state.gpr;
    const std::uint64_t from = source_base(core, op) + gpr[rsi];
    const std::uint64_t to = gpr[rdi];
    const std::uint64_t count = std::min(most, std::min(room(from), room(to)) / sizeof(T));
    if (count < worthwhile) return 0;
    std::byte* source = core.memory.host_of(from, 1, Access::read);
    if (source == nullptr) return 0; // a single round will say why
    std::byte* destination = core.memory.host_of(to, 1, Access::write);
    if (destination == nullptr) return 0;
    copy_host<T>(destination, source, count);
    gpr[rsi] += count * sizeof(T);
    gpr[rdi] += count * sizeof(T);
    return count;
  }

  template <class T> static bool round(Core& core, const MicroOp& op) {
    auto& gpr = core.state.gpr;
    T value;
    if (!core.memory.read<T>(source_base(core, op) + gpr[rsi], value)) return false;
    if (!core.memory.write<T>(gpr[rdi], value)) return false;
    gpr[rsi] += step<T>(core);
    gpr[rdi] += step<T>(core);
    return true;
  }
};

struct Stos {
  static constexpr bool compares = false;

  template <class T> static std::uint64_t many(Core& core, const MicroOp&, std::uint64_t most) {
    auto& gpr = core.state.gpr;
    const std::uint64_t count = std::min(most, room(gpr[rdi]) / sizeof(T));
    if (count < worthwhile) return 0;
    std::byte* destination = core.memory.host_of(gpr[rdi], 1, Access::write);
    if (destination == nullptr) return 0;
    fill_host<T>(destination, static_cast<T>(gpr[rax]), count);
    gpr[rdi] += count * sizeof(T);
    return count;
  }

  template <class T> static bool round(Core& core, const MicroOp&) {
    auto& gpr = core.state.gpr;
    if (!core.memory.write<T>(gpr[rdi], static_cast<T>(gpr[rax]))) return false;
    gpr[rdi] += step<T>(core);
    return true;
  }
};

struct Lods {
  static constexpr bool compares = false;

  template <class T> static bool round(Core& core, const MicroOp& op) {
    auto& gpr = core.state.gpr;
    T value;
    if (!core.memory.read<T>(source_base(core, op) + gpr[rsi], value)) return false;
    set_gpr<T>(core, rax, value);
    gpr[rsi] += step<T>(core);
    return true;
  }
};

struct Scas {
  static constexpr bool compares = true;

  template <class T> static bool round(Core& core, const MicroOp&) {
    auto& gpr = core.state.gpr;
    T value;
    if (!core.memory.read<T>(gpr[rdi], value)) return false;
    const T a = static_cast<T>(gpr[rax]);
    core.state.flags.sub<T>(a, value, static_cast<T>(a - value));
    gpr[rdi] += step<T>(core);
    return true;
  }
};

struct Cmps {
  static constexpr bool compares = true;

  template <class T> static bool round(Core& core, const MicroOp& op) {
    auto& gpr = core.state.gpr;
    T a, b;
    if (!core.memory.read<T>(source_base(core, op) + gpr[rsi], a)) return false;
    if (!core.memory.read<T>(gpr[rdi], b)) return false;
    core.state.flags.sub<T>(a, b, static_cast<T>(a - b));
    gpr[rsi] += step<T>(core);
    gpr[rdi] += step<T>(core);
    return true;
  }
};

template <class Operation> struct Once {
  template <class T> static Flow run(Core& core, const MicroOp& op) {
    return Operation::template round<T>(core, op) ? Flow::next : access_failed(core);
  }
};

template <class Operation> struct Repeated {
  template <class T> static Flow run(Core& core, const MicroOp& op) {
    std::uint64_t& count = core.state.gpr[rcx];
    for (std::uint64_t rounds = 0; count != 0; ++rounds) {
      if (rounds >= rounds_at_once) {
        core.state.rip = op.rip();
        return Flow::jump;
      }
      if constexpr (requires { Operation::template many<T>(core, op, count); }) {
        const bool forward = (core.state.system_flags & rflags_df) == 0;
        if (forward && !core.memory.external().replaying()) {
          if (const std::uint64_t done = Operation::template many<T>(core, op, count); done != 0) {
            count -= done;
            rounds += done * sizeof(T) / 64; // a cache line takes as long as a round
            continue;
          }
        }
      }
      if (!Operation::template round<T>(core, op)) return access_failed(core);
      --count;
      core.memory.external().retire();
      // Only rep of scas and cmps looks at ZF: repe goes on while it is set, repne while it is clear.
      if (Operation::compares && core.state.flags.zf() == op.repeat_not) break;
    }
    return Flow::next;
  }
};

template <class Operation> Handler string(const MicroOp& op, unsigned size) {
  return op.repeat || op.repeat_not ? pick_size<Repeated<Operation>>(size)
                                    : pick_size<Once<Operation>>(size);
}

} // namespace

Handler select_string(const Instruction& in, MicroOp& op) {
  if (in.info.meta.category != ZYDIS_CATEGORY_STRINGOP || op.address32) return nullptr;
  switch (in.info.mnemonic) {
  case ZYDIS_MNEMONIC_MOVSB:
  case ZYDIS_MNEMONIC_MOVSW:
  case ZYDIS_MNEMONIC_MOVSD:
  case ZYDIS_MNEMONIC_MOVSQ:
    return string<Movs>(op, in.size(0));
  case ZYDIS_MNEMONIC_STOSB:
  case ZYDIS_MNEMONIC_STOSW:
  case ZYDIS_MNEMONIC_STOSD:
  case ZYDIS_MNEMONIC_STOSQ:
    return string<Stos>(op, in.size(0));
  case ZYDIS_MNEMONIC_LODSB:
  case ZYDIS_MNEMONIC_LODSW:
  case ZYDIS_MNEMONIC_LODSD:
  case ZYDIS_MNEMONIC_LODSQ:
    return string<Lods>(op, in.size(0));
  case ZYDIS_MNEMONIC_SCASB:
  case ZYDIS_MNEMONIC_SCASW:
  case ZYDIS_MNEMONIC_SCASD:
  case ZYDIS_MNEMONIC_SCASQ:
    return string<Scas>(op, in.size(0));
  case ZYDIS_MNEMONIC_CMPSB:
  case ZYDIS_MNEMONIC_CMPSW:
  case ZYDIS_MNEMONIC_CMPSD:
  case ZYDIS_MNEMONIC_CMPSQ:
    return string<Cmps>(op, in.size(0));
  default:
    return nullptr;
  }
}

} // namespace slat::vmm::softcpu
