#include "vmm/vcpu_thread.hpp"

#include "vmm/crash_report.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <pthread.h>
#include <system_error>

namespace slat::vmm {

VcpuThread::VcpuThread(unsigned index, std::unique_ptr<VcpuBackend> vcpu, VcpuGate& gate,
                       GuestRam& ram, PortBus& ports, const MmioBus& mmio, SeccompMode seccomp,
                       OnEnd on_end)
    : index_(index), vcpu_(std::move(vcpu)), gate_(&gate), ram_(&ram), ports_(&ports), mmio_(&mmio),
      seccomp_(seccomp), on_end_(std::move(on_end)) {}

VcpuThread::~VcpuThread() {
  request_stop();
  join();
}

Result<void> VcpuThread::start() {
  VcpuState expected = VcpuState::created;
  if (!state_.compare_exchange_strong(expected, VcpuState::running, std::memory_order_acq_rel,
                                      std::memory_order_acquire)) { // pairs with request_stop()
    state_.store(VcpuState::ended, std::memory_order_release);      // pairs with state()
    on_end_(index_, VcpuEnd{});
    return {};
  }
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error& error) {                   // std::thread's only way to say no
    state_.store(VcpuState::ended, std::memory_order_release); // pairs with state()
    on_end_(index_, VcpuEnd{});
    return fail(
        Errc::host_limit, error.code().value(),
        fmt::format("cannot start the thread of vCPU {}: {}", index_, error.code().message()));
  }
  return {};
}

void VcpuThread::request_stop() {
  VcpuState seen = state_.load(std::memory_order_acquire); // the CAS decides
  while ((seen == VcpuState::created || seen == VcpuState::running) &&
         !state_.compare_exchange_weak(
             seen, VcpuState::stopping, std::memory_order_acq_rel,
             std::memory_order_acquire)) { // what made the caller stop is seen there
  }
  if (seen == VcpuState::ended) return;
  vcpu_->request_exit();
  gate_->wake(); // it may be turned away there, for long if the machine is paused
}

void VcpuThread::request_sample() {
  {
    mmu::MutexGuard guard(sample_mutex_);
    registers_.reset();
  }
  sample_wanted_.store(true, std::memory_order_relaxed); // a flag; the mutex guards the rest
  if (state() != VcpuState::running) return;
  vcpu_->request_exit();
}

VcpuSample VcpuThread::sample() {
  mmu::MutexGuard guard(sample_mutex_);
  return {index_, exits_.load(std::memory_order_relaxed), registers_}; // a count
}

void VcpuThread::give_sample() {
  sample_wanted_.store(false, std::memory_order_relaxed); // as in request_sample()
  const CrashRegisters registers = vcpu_->registers();
  mmu::MutexGuard guard(sample_mutex_);
  registers_ = registers;
}

void VcpuThread::join() {
  if (thread_.joinable()) thread_.join();
}

void VcpuThread::run() {
  pthread_setname_np(pthread_self(), fmt::format("slat-vcpu-{}", index_).c_str());
  VcpuEnd end;
  if (auto ok = enter_sandbox(ThreadKind::vcpu, seccomp_); !ok)
    end = {VcpuEnd::Reason::crashed, ok.error().message + '\n'};
  else
    end = run_guest();
  state_.store(VcpuState::ended, std::memory_order_release); // pairs with state()
  on_end_(index_, end);
}

VcpuEnd VcpuThread::run_guest() {
  vcpu_->attach();
  std::optional<VcpuEnd> end;
  while (!end) {
    read_only_before_ = ram_->read_only().before();
    if (!gate_->enter([this] { return state() == VcpuState::stopping; })) {
      end = VcpuEnd{};
      break;
    }
    const VcpuExit exit = vcpu_->run();
    gate_->leave();
    end = handle(exit);
    if (!end && state() == VcpuState::stopping) end = VcpuEnd{};
  }
  vcpu_->detach();
  return *end;
}

std::optional<VcpuEnd> VcpuThread::handle(const VcpuExit& exit) {
  if (std::holds_alternative<kvm::Interrupted>(exit)) {
    if (sample_wanted_.load(std::memory_order_relaxed)) give_sample(); // no more than a flag
    return std::nullopt;
  }
  exits_.fetch_add(1, std::memory_order_relaxed); // a count
  if (const auto* out = std::get_if<kvm::IoOut>(&exit)) {
    ports_->write(out->port, out->size, out->data);
    return std::nullopt;
  }
  if (const auto* in = std::get_if<kvm::IoIn>(&exit)) {
    ports_->read(in->port, in->size, in->data);
    return std::nullopt;
  }
  if (const auto* read = std::get_if<kvm::MmioRead>(&exit)) return mmio_read(*read);
  if (const auto* write = std::get_if<kvm::MmioWrite>(&exit)) return mmio_write(*write);
  if (std::holds_alternative<kvm::Hlt>(exit)) return VcpuEnd{VcpuEnd::Reason::halted};
  if (std::holds_alternative<kvm::Shutdown>(exit))
    return crash("triple fault: an exception that the guest's IDT could not deliver");
  const auto& failure = std::get<VcpuFailure>(exit);
  if (failure.memory && state() == VcpuState::stopping) return VcpuEnd{};
  if (failure.refused && ram_->read_only().wait(read_only_before_))
    return std::nullopt; // the instruction starts again
  return crash(failure.cause);
}

// An access to RAM that arrives as MMIO is a fault that the kernel's emulator could not resolve: perform it through
// the fault path and go on. Where that fails too the guest must not see made-up bytes.

std::optional<VcpuEnd> VcpuThread::mmio_read(const kvm::MmioRead& access) {
  if (!ram_->guest_view_of(access.gpa)) {
    const auto data = access.data.first(access.size);
    if (!mmio_->read(access.gpa, data))
      std::ranges::fill(data, std::byte{0xff}); // what a bus without a device gives
    return std::nullopt;
  }
  ram_->mm().counters().add(mmu::Counter::mmio_on_ram_count);
  auto ok = ram_->read(access.gpa, access.data.first(access.size));
  return ok ? std::nullopt : std::optional(crash(ok.error().message));
}

std::optional<VcpuEnd> VcpuThread::mmio_write(const kvm::MmioWrite& access) {
  if (!ram_->guest_view_of(access.gpa)) {
    (void)mmio_->write(access.gpa, access.data.first(access.size)); // or nobody is there
    return std::nullopt;
  }
  ram_->mm().counters().add(mmu::Counter::mmio_on_ram_count);
  for (;;) { // as GuestRam::write(), and lets itself be stopped
    const std::uint64_t before = ram_->read_only().before();
    auto ok = ram_->write_at_once(access.gpa, access.data.first(access.size));
    if (ok) return std::nullopt;
    if (ok.error().code != Errc::read_only || !ram_->read_only().wait(before))
      return crash(ok.error().message);
    if (state() == VcpuState::stopping) return VcpuEnd{};
  }
}

VcpuEnd VcpuThread::crash(const std::string& cause) {
  return {VcpuEnd::Reason::crashed,
          crash_report(fmt::format("vCPU {}: {}", index_, cause), vcpu_->registers(), *ram_)};
}

} // namespace slat::vmm
