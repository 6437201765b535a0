// xchg xadd cmpxchg cmpxchg8b cmpxchg16b, mfence lfence sfence.
#include "vmm/softcpu/instruction.hpp"

#include <atomic>
#include <utility>

namespace slat::vmm::softcpu {
namespace {

/// With memory it is locked, with or without the prefix. Either operand may be the memory.
struct Xchg {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    if constexpr (S == Shape::rr) {
      const T a = get_register<T>(core, op.dst);
      const T b = get_register<T>(core, op.src);
      set_register<T>(core, op.src, a);
      set_register<T>(core, op.dst, b);
      return Flow::next;
    }
    const std::uint8_t at = S == Shape::mr ? op.src : op.dst;
    const T value = get_register<T>(core, at);
    T old{};
    if (!core.memory.modify<T>(linear_address(core, op), old, [value](T) { return value; }))
      return access_failed(core);
    set_register<T>(core, at, old);
    return Flow::next;
  }
};

// The unlocked forms with memory are locked too: nobody can tell.

struct Xadd {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    const T b = get_register<T>(core, op.src);
    T old{};
    if constexpr (writes_memory(S)) {
      const auto add = [b](T a) { return static_cast<T>(a + b); };
      if (!core.memory.modify<T>(linear_address(core, op), old, add)) return access_failed(core);
      set_register<T>(core, op.src, old);
    } else {
      old = get_register<T>(core, op.dst);
      set_register<T>(core, op.src, old); // first: where both are the same register the sum stays
      set_register<T>(core, op.dst, static_cast<T>(old + b));
    }
    core.state.flags.add<T>(old, b, static_cast<T>(old + b));
    return Flow::next;
  }
};

/// The memory is written in any case, with the old value where they differ.
struct CompareExchange {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    const T expected = get_gpr<T>(core, rax);
    const T wanted = get_register<T>(core, op.src);
    T old{};
    if constexpr (writes_memory(S)) {
      const auto exchange = [=](T a) { return a == expected ? wanted : a; };
      if (!core.memory.modify<T>(linear_address(core, op), old, exchange))
        return access_failed(core);
    } else {
      old = get_register<T>(core, op.dst);
      if (old == expected) set_register<T>(core, op.dst, wanted);
    }
    // Where they are equal, the accumulator is not written: not even its upper half is cleared.
    if (old != expected) set_gpr<T>(core, rax, old);
    core.state.flags.sub<T>(expected, old, static_cast<T>(expected - old));
    return Flow::next;
  }
};

Flow compare_exchange_8(Core& core, const MicroOp& op) {
  const std::uint64_t expected =
      std::uint64_t{get_gpr<std::uint32_t>(core, rdx)} << 32 | get_gpr<std::uint32_t>(core, rax);
  const std::uint64_t wanted =
      std::uint64_t{get_gpr<std::uint32_t>(core, rcx)} << 32 | get_gpr<std::uint32_t>(core, rbx);
  std::uint64_t old = 0;
  const auto exchange = [=](std::uint64_t a) { return a == expected ? wanted : a; };
  if (!core.memory.modify<std::uint64_t>(linear_address(core, op), old, exchange))
    return access_failed(core);
  if (old != expected) {
    set_gpr<std::uint32_t>(core, rax, static_cast<std::uint32_t>(old));
    set_gpr<std::uint32_t>(core, rdx, static_cast<std::uint32_t>(old >> 32));
  }
  core.state.flags.set_zf(old == expected);
  return Flow::next;
}

/// `at` is 16-byte aligned. Full barrier, as every locked operation; returns the old value. This file is compiled with
/// -mcx16, without which compilers call libatomic.
Word128 compare_exchange_host(std::byte* at, Word128 expected, Word128 wanted) {
  return __sync_val_compare_and_swap(reinterpret_cast<Word128*>(at), expected, wanted);
}

Flow compare_exchange_16(Core& core, const MicroOp& op) {
  const std::uint64_t at = linear_address(core, op);
  if (at % 16 != 0) return raise(core, vector_protection, 0);
  std::byte* host = core.memory.host_of(at, 16, Access::write);
  if (host == nullptr) {
    const Flow flow = access_failed(core);
    return flow == Flow::device ? unsupported(core, "cmpxchg16b on a device") : flow;
  }
  const auto& gpr = core.state.gpr;
  const Word128 expected = Word128{gpr[rdx]} << 64 | gpr[rax];
  const Word128 old = compare_exchange_host(host, expected, Word128{gpr[rcx]} << 64 | gpr[rbx]);
  if (old != expected) {
    core.state.gpr[rax] = static_cast<std::uint64_t>(old);
    core.state.gpr[rdx] = static_cast<std::uint64_t>(old >> 64);
  }
  core.state.flags.set_zf(old == expected);
  return Flow::next;
}

Flow full_fence(Core&, const MicroOp&) {
  // Store-load order; pairs with the guest's own fences and locked operations on other vCPUs. A locked
  // operation instead of a fence, because TSan does not know fences.
  std::atomic<std::uint32_t> barrier{0};
  barrier.exchange(1, std::memory_order_seq_cst);
  return Flow::next;
}

/// x86 orders loads with loads and stores with stores anyway.
Flow weak_fence(Core&, const MicroOp&) {
  return Flow::next;
}

} // namespace

Handler select_exchange(const Instruction& in, MicroOp&) {
  switch (in.info.mnemonic) {
  case ZYDIS_MNEMONIC_XCHG:
    return pick_binary<Xchg>(in.size(0), in.shape);
  case ZYDIS_MNEMONIC_XADD:
    return pick_binary<Xadd>(in.size(0), in.shape);
  case ZYDIS_MNEMONIC_CMPXCHG:
    return pick_binary<CompareExchange>(in.size(0), in.shape);
  case ZYDIS_MNEMONIC_CMPXCHG8B:
    return compare_exchange_8;
  case ZYDIS_MNEMONIC_CMPXCHG16B:
    return compare_exchange_16;
  case ZYDIS_MNEMONIC_MFENCE:
    return full_fence;
  case ZYDIS_MNEMONIC_LFENCE:
  case ZYDIS_MNEMONIC_SFENCE:
    return weak_fence;
  default:
    return nullptr;
  }
}

} // namespace slat::vmm::softcpu
