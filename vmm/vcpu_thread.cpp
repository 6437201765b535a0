#include "vmm/vcpu_thread.hpp"

#include "vmm/vcpu_setup.hpp"

#include <algorithm>
#include <csignal>
#include <fmt/format.h>
#include <mutex>
#include <optional>
#include <pthread.h>
#include <system_error>

namespace slat::vmm {

namespace {

/// The vCPU that this thread runs, for the signal handler.
thread_local kvm::Vcpu* current_vcpu = nullptr;

/// A poisoned page of guest memory reaches the vCPU's thread as SIGBUS, out of KVM_RUN: leave the guest. The fault
/// service has said already why the machine ends. Any other SIGBUS is a bug, and ends the process as it would have.
void on_sigbus(int) {
  if (current_vcpu != nullptr)
    current_vcpu->request_exit();
  else
    std::signal(SIGBUS, SIG_DFL); // the access is repeated, and then fatal
}

/// The kick signal only has to interrupt KVM_RUN: its handler does nothing. Both handlers are there before any vCPU is.
int kick_signal() {
  static const int number = [] {
    struct sigaction action{};
    sigemptyset(&action.sa_mask);
    action.sa_handler = [](int) {};
    sigaction(SIGRTMIN, &action, nullptr);
    action.sa_handler = on_sigbus;
    sigaction(SIGBUS, &action, nullptr);
    return SIGRTMIN;
  }();
  return number;
}

} // namespace

VcpuThread::VcpuThread(unsigned index, kvm::Vcpu vcpu, GuestRam& ram, PortBus& ports, OnEnd on_end)
    : index_(index), vcpu_(std::move(vcpu)), ram_(&ram), ports_(&ports),
      on_end_(std::move(on_end)) {
  (void)kick_signal(); // the handler is there before anybody kicks
}

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
  vcpu_.request_exit();
  // A thread that has not said who it is yet finds the request at its first entry.
  mmu::MutexGuard guard(kick_mutex_);
  if (running_thread_) pthread_kill(*running_thread_, kick_signal());
}

void VcpuThread::join() {
  if (thread_.joinable()) thread_.join();
}

void VcpuThread::set_running_thread(std::optional<pthread_t> thread) {
  mmu::MutexGuard guard(kick_mutex_);
  running_thread_ = thread;
}

void VcpuThread::run() {
  pthread_setname_np(pthread_self(), fmt::format("slat-vcpu-{}", index_).c_str());
  current_vcpu = &vcpu_;
  set_running_thread(pthread_self());
  mmu::InvalidateSeq& sequence = ram_->mm().notifiers().sequence();
  std::optional<VcpuEnd> end;
  while (!end) {
    const std::uint64_t before = sequence.snapshot();
    const kvm::Result<kvm::Exit> exit = vcpu_.run();
    vcpu_.take_exit_request();
    // Before the state is read: a request made after the take is seen by the next run() (see Vcpu).
    if (!exit) {
      end = crash(exit.error().message);
    } else {
      end = handle(*exit, before);
      if (!end && state() == VcpuState::stopping) end = VcpuEnd{};
    }
  }
  set_running_thread(std::nullopt);
  current_vcpu = nullptr;
  state_.store(VcpuState::ended, std::memory_order_release); // pairs with state()
  on_end_(index_, *end);
}

std::optional<VcpuEnd> VcpuThread::handle(const kvm::Exit& exit, std::uint64_t sequence_before) {
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
  if (std::holds_alternative<kvm::Interrupted>(exit)) return std::nullopt;
  if (const auto* fault = std::get_if<kvm::MemoryFault>(&exit))
    return handle_memory_fault(*fault, sequence_before);
  if (std::holds_alternative<kvm::Hlt>(exit)) return VcpuEnd{VcpuEnd::Reason::halted};
  if (std::holds_alternative<kvm::Shutdown>(exit))
    return crash("triple fault: an exception that the guest's IDT could not deliver");
  if (const auto* error = std::get_if<kvm::InternalError>(&exit);
      error != nullptr && error->is_emulation())
    return crash(fmt::format(
        "KVM could not emulate an instruction ({}); a host whose KVM has no nested paging emulates "
        "all guest code of ring 0: see `slat doctor`",
        kvm::to_string(exit)));
  return crash(kvm::to_string(exit));
}

std::optional<VcpuEnd> VcpuThread::handle_memory_fault(const kvm::MemoryFault& fault,
                                                       std::uint64_t sequence_before) {
  mmu::InvalidateSeq& sequence = ram_->mm().notifiers().sequence();
  if (fault.os_error == EFAULT) {
    // A range in progress, or one that ended since the guest was entered, explains it (DESIGN 9).
    const bool explained = sequence.count() != 0 || sequence.snapshot() != sequence_before;
    if (explained) {
      ram_->mm().counters().add(mmu::Counter::efault_count);
      sequence.wait(0, UINT64_MAX);
      return std::nullopt;
    }
  }
  if (state() == VcpuState::stopping) return VcpuEnd{};
  return crash(
      fmt::format("guest memory could not be mapped: {}", kvm::to_string(kvm::Exit(fault))));
}

// An access to RAM that arrives as MMIO is a fault that the kernel's emulator could not resolve: perform it through
// the fault path and go on (DESIGN 9). Where that fails too the guest must not see made-up bytes.

std::optional<VcpuEnd> VcpuThread::mmio_read(const kvm::MmioRead& access) {
  std::fill(access.data.begin(), access.data.end(),
            std::byte{0xff}); // what a bus without a device gives
  if (!ram_->guest_view_of(access.gpa)) return std::nullopt;
  ram_->mm().counters().add(mmu::Counter::mmio_on_ram_count);
  auto ok = ram_->read(access.gpa, access.data.first(access.size));
  return ok ? std::nullopt : std::optional(crash(ok.error().message));
}

std::optional<VcpuEnd> VcpuThread::mmio_write(const kvm::MmioWrite& access) {
  if (!ram_->guest_view_of(access.gpa)) return std::nullopt; // nobody there
  ram_->mm().counters().add(mmu::Counter::mmio_on_ram_count);
  auto ok = ram_->write(access.gpa, access.data.first(access.size));
  return ok ? std::nullopt : std::optional(crash(ok.error().message));
}

VcpuEnd VcpuThread::crash(const std::string& cause) {
  return {VcpuEnd::Reason::crashed,
          crash_report(fmt::format("vCPU {}: {}", index_, cause), crash_registers(vcpu_), *ram_)};
}

} // namespace slat::vmm
