#include "vmm/machine.hpp"

#include "vmm/boot_params.hpp"
#include "vmm/from_kvm.hpp"
#include "vmm/layout.hpp"
#include "vmm/vcpu_setup.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace slat::vmm {

namespace {
constexpr std::uint32_t tss_address = 0xfffbd000; // three pages in the device hole
} // namespace

Machine::Machine(MachineConfig config)
    : config_(std::move(config)), serial_(config_.serial), debug_exit_([this](std::uint8_t code) {
        {
          mmu::MutexGuard guard(mutex_);
          end({.reason = MachineEnd::Reason::exited, .exit_code = code});
        }
        request_stop();
      }) {}

Result<std::unique_ptr<Machine>> Machine::create(MachineConfig config) {
  std::unique_ptr<Machine> machine(new Machine(std::move(config)));
  for (auto step :
       {&Machine::open_host, &Machine::make_memory, &Machine::load, &Machine::make_vcpus})
    if (auto ok = (machine.get()->*step)(); !ok) return forward(ok);
  return machine;
}

Result<void> Machine::open_host() {
  if (auto ok = check_command_line(config_.command_line); !ok) return ok;
  if (auto ok = check_ram_size(config_.memory); !ok) return ok;
  auto system = kvm::System::open(config_.kvm_device);
  if (!system) return from_kvm(system);
  system_ = std::move(*system);
  if (config_.cpus < 1 || config_.cpus > system_->max_vcpus())
    return fail(
        Errc::invalid_argument, 0,
        fmt::format("--cpus {}: this host allows 1 to {}", config_.cpus, system_->max_vcpus()));
  auto uffd =
      kvm::Userfaultfd::open({.wanted = UFFD_FEATURE_THREAD_ID,
                              .required = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM});
  if (!uffd) return from_kvm(uffd);
  uffd_ = std::move(*uffd);
  auto vm = system_->create_vm();
  if (!vm) return from_kvm(vm);
  vm_.emplace(std::move(*vm));
  if (auto ok = vm_->set_tss_address(tss_address); !ok) return from_kvm(ok);
  ended_fd_ = kvm::Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (ended_fd_.get() < 0)
    return fail(
        Errc::host_limit, errno,
        fmt::format("cannot create an eventfd: {}; raise the limit on open files (ulimit -n)",
                    std::strerror(errno)));
  return {};
}

Result<void> Machine::make_memory() {
  uffd_guard_.emplace(*uffd_);
  auto ram = GuestRam::create(config_.memory,
                              {.vma_lock = config_.vma_lock, .guard = &*uffd_guard_}, counters_);
  if (!ram) return forward(ram);
  ram_ = std::move(*ram);
  const unsigned threads =
      config_.fault_threads != 0 ? config_.fault_threads : std::max(1u, config_.cpus / 2);
  auto service = FaultService::start(
      ram_->mm(), *uffd_, {.threads = threads, .around = config_.fault_around},
      [this](std::uintptr_t address, mmu::FaultResult why) {
        {
          mmu::MutexGuard guard(mutex_);
          end({.reason = MachineEnd::Reason::crashed,
               .report = fmt::format("a fault at {:#x} in the guest view cannot be resolved: {}\n",
                                     address, mmu::to_string(why))});
        }
        request_stop();
      });
  if (!service) return forward(service);
  fault_service_ = std::move(*service);
  std::uint32_t slot = 0;
  for (const GuestRam::Region& region : ram_->regions())
    if (auto ok = vm_->set_memslot(slot++, region.gpa.start, region.gpa.size, region.guest_view);
        !ok)
      return from_kvm(ok);
  return {};
}

Result<void> Machine::load() {
  auto kernel = std::holds_alternative<BuiltinImage>(config_.kernel)
                    ? load_elf(*ram_, std::get<BuiltinImage>(config_.kernel).bytes,
                               std::get<BuiltinImage>(config_.kernel).name)
                    : load_elf_file(*ram_, std::get<std::filesystem::path>(config_.kernel));
  if (!kernel) return forward(kernel);
  kernel_ = *kernel;
  if (auto ok = write_boot_params(*ram_, {.command_line = config_.command_line}); !ok) return ok;
  auto entry = write_boot_tables(*ram_, kernel_.entry);
  if (!entry) return forward(entry);
  entry_ = *entry;
  return {};
}

Result<void> Machine::make_vcpus() {
  if (auto ok = ports_.attach(Serial::com1_ports, serial_, "serial"); !ok) return ok;
  if (auto ok = ports_.attach(DebugExit::ports, debug_exit_, "debug exit"); !ok) return ok;
  auto cpuid = system_->supported_cpuid();
  if (!cpuid) return from_kvm(cpuid);
  for (unsigned i = 0; i < config_.cpus; ++i) {
    auto vcpu = vm_->create_vcpu(i);
    if (!vcpu) return from_kvm(vcpu);
    const std::uint32_t tsc_khz = vcpu->tsc_khz().value_or(0);
    if (auto ok = vcpu->set_cpuid(guest_cpuid(*cpuid, i, config_.cpus, tsc_khz)); !ok)
      return from_kvm(ok);
    EntryState entry = entry_;
    entry.rdi = i;
    entry.rdx = config_.cpus;
    if (auto ok = set_entry_state(*vcpu, entry); !ok) return ok;
    vcpus_.push_back(std::make_unique<VcpuThread>(
        i, std::move(*vcpu), *ram_, ports_,
        [this](unsigned index, const VcpuEnd& end) { vcpu_ended(index, end); }));
  }
  return {};
}

Machine::~Machine() {
  // vCPUs and fault threads may call request_stop(), which goes through all vCPUs: none is destroyed before all threads
  // have ended.
  request_stop();
  for (const auto& vcpu : vcpus_) vcpu->join();
  fault_service_.reset();
  vcpus_.clear();
  vm_.reset();
  ram_.reset();
}

Result<void> Machine::start() {
  // Without a wish of the image, further vCPUs wait for the first one to start them.
  const std::size_t starting = kernel_.notes.all_vcpus_start ? vcpus_.size() : 1;
  {
    mmu::MutexGuard guard(mutex_);
    running_ = unsigned(starting);
  }
  for (std::size_t i = 0; i < starting; ++i)
    if (auto ok = vcpus_[i]->start(); !ok) {
      request_stop();
      return ok;
    }
  return {};
}

void Machine::request_stop() {
  for (const auto& vcpu : vcpus_) vcpu->request_stop();
}

void Machine::vcpu_ended(unsigned, const VcpuEnd& vcpu_end) {
  bool stop = false;
  {
    mmu::MutexGuard guard(mutex_);
    --running_;
    if (vcpu_end.reason == VcpuEnd::Reason::crashed) {
      end({.reason = MachineEnd::Reason::crashed, .report = vcpu_end.report});
      stop = true;
    } else if (running_ == 0 && !end_) {
      const bool halted = vcpu_end.reason == VcpuEnd::Reason::halted;
      end({.reason = halted ? MachineEnd::Reason::halted : MachineEnd::Reason::stopped});
    }
    if (running_ == 0) {
      const std::uint64_t one = 1;
      (void)!::write(ended_fd_.get(), &one, sizeof one); // an eventfd takes it
      changed_.notify_all();
    }
  }
  if (stop) request_stop();
}

void Machine::end(MachineEnd end) {
  if (!end_) end_ = std::move(end); // the first cause is the one to tell
}

std::optional<MachineEnd> Machine::wait_for(std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  mmu::MutexGuard guard(mutex_);
  while (running_ != 0 || !end_)
    if (!guard.wait_until(changed_, deadline)) return std::nullopt;
  return end_;
}

} // namespace slat::vmm
