#include "vmm/softcpu/cpu.hpp"

#include "vmm/softcpu/decode.hpp"
#include "vmm/softcpu/exception.hpp"

#include <cstring>
#include <utility>

namespace slat::vmm::softcpu {

void Cpu::state_changed() {
  delivering_ = false;
  core_.memory.external().reset();
  core_.memory.space_changed();
  core_.memory.flush();
  core_.memory.privilege_changed();
}

bool Cpu::interrupt(std::uint8_t vector) {
  if (pending_interrupt_) return false;
  pending_interrupt_ = vector;
  return true;
}

bool Cpu::can_interrupt() const {
  return (core_.state.system_flags & rflags_if) != 0 && !core_.interrupt_shadow;
}

void Cpu::enter_guest() {
  flush_.enter([this] { core_.memory.flush(); });
}

bool Cpu::take_exit_request() {
  // Acquire: see request_exit().
  return exit_requested_.load(std::memory_order_relaxed) &&
         exit_requested_.exchange(false, std::memory_order_acquire);
}

void Cpu::serve_stage2() {
  const MemoryAccess::Missing missing = core_.memory.missing();
  ++stage2_faults_;
  flush_.leave(); // whoever removes pages may be waited for in there (I37)
  const mmu::FaultResult result = core_.memory.physical().fault(missing.gpa, missing.access);
  enter_guest();
  if (result != mmu::FaultResult::done) failed_ = {missing.gpa, missing.access, result};
}

const Block* Cpu::fetch(Flow& failure) {
  const std::uint64_t rip = core_.state.rip;
  std::byte* at = core_.memory.host_of(rip, 1, Access::execute);
  if (at == nullptr) [[unlikely]] {
    failure = access_failed(core_);
    if (failure == Flow::device) failure = unsupported(core_, "code in device memory");
    return nullptr;
  }
  const Block* block = blocks_.find(rip, at, page_bytes - (rip & page_offset_mask));
  return block != nullptr ? block : fetch_across_pages(failure);
}

const Block* Cpu::fetch_across_pages(Flow& failure) {
  const std::uint64_t rip = core_.state.rip;
  std::array<std::uint8_t, longest_instruction> bytes{};
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const std::byte* at = core_.memory.host_of(rip + i, 1, Access::execute);
    if (at == nullptr) {
      failure = access_failed(core_);
      if (failure == Flow::device) failure = unsupported(core_, "code in device memory");
      return nullptr;
    }
    bytes[i] = load_host<std::uint8_t>(const_cast<std::byte*>(at));
  }
  MicroOp op;
  bool ends = false;
  if (decode(bytes, rip, op, ends) == Decoded::truncated) {
    failure = raise(core_, vector_protection, 0); // longer than 15 bytes
    return nullptr;
  }
  crossing_.ops = {op, block_end(op.next_rip)};
  return &crossing_;
}

/// Blocks until something else than a branch happens. Flow::next: an exit is asked for.
Flow Cpu::execute() {
  ExternalLog& log = core_.memory.external();
  for (;;) {
    flush_.poll([this] { core_.memory.flush(); });
    if (exit_requested_.load(std::memory_order_relaxed)) [[unlikely]]
      return Flow::next; // take_exit_request() acquires
    const bool shadow = core_.interrupt_shadow;
    if (shadow) [[unlikely]] {
      core_.interrupt_shadow = false;
    } else if (pending_interrupt_ && can_interrupt() && !log.replaying()) {
      const Fault event{*pending_interrupt_, false, 0, 0};
      const Flow flow = enter_gate(core_, event, false, core_.state.rip);
      if (flow != Flow::stage2) pending_interrupt_.reset(); // or it comes again
      if (flow != Flow::jump) return flow;
    }
    Flow flow = Flow::next;
    const Block* block = fetch(flow);
    if (block == nullptr) {
      if (flow == Flow::stage2) core_.interrupt_shadow = shadow; // it has not begun
      if (flow == Flow::fault) log.retire(); // its code went away: what devices answered is lost
      return flow;
    }
    const MicroOp* const first = block->ops.data();
    const MicroOp* op = first;
    if (log.replaying()) [[unlikely]] {
      flow = op->run(core_, *op);
      if (flow == Flow::stage2)
        log.restart();
      else if (flow != Flow::device)
        log.retire();
      if (flow == Flow::next) ++op;
    }
    while (flow == Flow::next) {
      flow = op->run(core_, *op);
      if (flow == Flow::next) [[likely]] {
        ++op;
      } else if (flow == Flow::stage2) {
        serve_stage2();
        if (failed_ ||
            exit_requested_.load(std::memory_order_relaxed)) { // take_exit_request() acquires
          instructions_ += static_cast<std::uint64_t>(op - first);
          if (op == first) core_.interrupt_shadow = shadow; // it has not begun
          core_.state.rip = op->rip();
          return Flow::next;
        }
        flow = Flow::next; // again, from its beginning, and as it was fetched before the fault
      }
    }
    instructions_ += static_cast<std::uint64_t>(op - first);
    if (flow == Flow::jump) [[likely]] {
      instructions_ += op->length != 0 ? 1 : 0; // the end of a block is no instruction
      continue;
    }
    if (flow == Flow::stage2 && op == first) core_.interrupt_shadow = shadow; // it starts again
    if (flow != Flow::halt) core_.state.rip = op->rip();
    return flow;
  }
}

Exit Cpu::device_exit() {
  const ExternalAccess& access = core_.memory.external().access();
  std::memcpy(data_.data(), &access.value, sizeof access.value);
  const std::span<std::byte> data(data_.data(), access.size);
  switch (access.kind) {
  case ExternalAccess::Kind::port_in:
    return kvm::IoIn{static_cast<std::uint16_t>(access.address), access.size, 1, data};
  case ExternalAccess::Kind::port_out:
    return kvm::IoOut{static_cast<std::uint16_t>(access.address), access.size, 1, data};
  case ExternalAccess::Kind::mmio_read:
    return kvm::MmioRead{access.address, access.size, data};
  case ExternalAccess::Kind::mmio_write:
    break;
  }
  return kvm::MmioWrite{access.address, access.size, data};
}

Exit Cpu::run() {
  ExternalLog& log = core_.memory.external();
  if (log.pending()) {
    std::uint64_t value = 0;
    std::memcpy(&value, data_.data(), log.access().size);
    log.access().value = value;
    log.serve();
  }
  enter_guest();
  Exit exit = run_in_guest();
  flush_.leave();
  return exit;
}

Exit Cpu::run_in_guest() {
  for (;;) {
    if (take_exit_request()) return kvm::Interrupted{};
    Flow flow = delivering_ ? Flow::fault : execute();
    if (flow == Flow::fault) {
      flow = deliver_fault(core_);
      delivering_ = flow == Flow::stage2;
      if (flow == Flow::halt) return kvm::Shutdown{};
    }
    if (flow == Flow::stage2) serve_stage2();
    if (failed_) return *std::exchange(failed_, std::nullopt);
    if (flow == Flow::device) return device_exit();
    if (flow == Flow::halt) return kvm::Hlt{};
    if (flow == Flow::unsupported) return Unsupported{core_.state.rip, core_.unsupported};
  }
}

} // namespace slat::vmm::softcpu
