// KVM: the kernel's stage-2 is the authority, and faults arrive by userfaultfd.
#include "kvm/flavour.hpp"
#include "kvm/system.hpp"
#include "kvm/userfaultfd.hpp"
#include "vmm/accelerator.hpp"
#include "vmm/from_kvm.hpp"
#include "vmm/kvm_vcpu.hpp"
#include "vmm/pc_setup.hpp"
#include "vmm/vcpu_setup.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <optional>

namespace slat::vmm {

namespace {

constexpr std::uint32_t tss_address = 0xfffbd000; // three pages in the device hole

class KvmAccelerator final : public Accelerator {
 public:
  static Result<std::unique_ptr<Accelerator>> open(const AcceleratorOptions& options) {
    auto system = kvm::System::open(options.kvm_device);
    if (!system) return from_kvm(system);
    auto uffd =
        kvm::Userfaultfd::open({.wanted = UFFD_FEATURE_THREAD_ID | uffd_protection_features,
                                .required = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM});
    if (!uffd) return from_kvm(uffd);
    auto vm = system->create_vm();
    if (!vm) return from_kvm(vm);
    if (auto ok = vm->set_tss_address(tss_address); !ok) return from_kvm(ok);
    auto cpuid = system->supported_cpuid();
    if (!cpuid) return from_kvm(cpuid);
    return std::unique_ptr<Accelerator>(new KvmAccelerator(
        options, std::move(*system), std::move(*uffd), std::move(*vm), std::move(*cpuid)));
  }

  [[nodiscard]] std::string_view name() const override { return "kvm"; }

  [[nodiscard]] unsigned max_vcpus() const override { return system_.max_vcpus(); }

  [[nodiscard]] mmu::ViewGuard* guard() override { return &guard_; }

  Result<void> attach_memory(GuestRam& ram, OnFailure on_failure) override {
    ram_ = &ram;
    const unsigned threads =
        options_.fault_threads != 0 ? options_.fault_threads : std::max(1u, options_.cpus / 2);
    auto service = FaultService::start(
        ram, uffd_,
        {.threads = threads, .around = options_.fault_around, .seccomp = options_.seccomp},
        std::move(on_failure));
    if (!service) return forward(service);
    service_ = std::move(*service);
    for (std::size_t i = 0; i < ram.regions().size(); ++i)
      if (auto ok = add_slot(i); !ok) return ok;
    return {};
  }

  Result<void> remove_slot(std::size_t region) override {
    if (auto ok = vm_->delete_memslot(std::uint32_t(region)); !ok) return from_kvm(ok);
    return {};
  }

  Result<void> add_slot(std::size_t region) override {
    const GuestRam::Region& memory = ram_->regions()[region];
    if (auto ok = vm_->set_memslot(std::uint32_t(region), memory.gpa.start, memory.gpa.size,
                                   memory.guest_view, slot_flags_);
        !ok)
      return from_kvm(ok);
    return {};
  }

  Result<void> log_dirty() override {
    slot_flags_ = KVM_MEM_LOG_DIRTY_PAGES;
    for (std::size_t i = 0; i < ram_->regions().size(); ++i)
      if (auto ok = add_slot(i); !ok) return ok; // changes the flags
    return {};
  }

  Result<void> read_dirty(std::size_t region, std::span<std::uint64_t> bits) override {
    if (auto ok = vm_->get_dirty_log(std::uint32_t(region), bits); !ok) return from_kvm(ok);
    return {};
  }

  void detach_memory() override {
    service_.reset();
    vm_.reset(); // its slots refer to the guest views
  }

  Result<void> make_pc() override {
    // What is not known may do. Where ring 0 is emulated, Linux would stop at its first cmpxchg16b.
    if (const kvm::Flavour flavour = kvm::detect_flavour();
        flavour != kvm::Flavour::unknown && !kvm::runs_kernel_mode_natively(flavour))
      return fail(Errc::host_unavailable, 0,
                  fmt::format("this host cannot run Linux as a guest: {}; use another host, or the "
                              "nested host (tools/nested/run.sh)",
                              kvm::describe(flavour)));
    if (auto ok = vm_->create_irqchip(); !ok) return from_kvm(ok);
    if (auto ok = vm_->create_pit(); !ok) return from_kvm(ok);
    is_pc_ = true;
    return {};
  }

  void set_irq_line(unsigned gsi, bool raised) override {
    // It can fail for a line that there is not, and the devices know theirs.
    (void)vm_->set_irq_line(gsi, raised);
  }

  Result<std::unique_ptr<VcpuBackend>> create_vcpu(unsigned index,
                                                   const EntryState& entry) override {
    auto vcpu = vm_->create_vcpu(index);
    if (!vcpu) return from_kvm(vcpu);
    const std::uint32_t tsc_khz = vcpu->tsc_khz().value_or(0);
    std::vector<kvm_cpuid_entry2> cpuid = guest_cpuid(cpuid_, index, options_.cpus, tsc_khz);
    if (is_pc_)
      show_pc(cpuid, index, options_.cpus, vm_->check_extension(KVM_CAP_TSC_DEADLINE_TIMER) != 0);
    if (auto ok = vcpu->set_cpuid(cpuid); !ok) return from_kvm(ok);
    // Of a PC, only the first one starts; the others' state comes with the start-up interrupt.
    if (!is_pc_ || index == 0)
      if (auto ok = set_entry_state(*vcpu, entry); !ok) return forward(ok);
    if (is_pc_) set_pc_msrs(*vcpu);
    return std::unique_ptr<VcpuBackend>(std::make_unique<KvmVcpu>(std::move(*vcpu), *ram_));
  }

  [[nodiscard]] std::uint64_t fault_count() const override {
    return service_ == nullptr ? 0 : service_->fault_latency_ns().count();
  }

  [[nodiscard]] mmu::Histogram fault_latency_ns() const override {
    return service_ == nullptr ? mmu::Histogram() : service_->fault_latency_ns();
  }

  [[nodiscard]] FaultService* fault_service() override { return service_.get(); }

 private:
  KvmAccelerator(const AcceleratorOptions& options, kvm::System system, kvm::Userfaultfd uffd,
                 kvm::Vm vm, std::vector<kvm_cpuid_entry2> cpuid)
      : options_(options), system_(std::move(system)), uffd_(std::move(uffd)), vm_(std::move(vm)),
        cpuid_(std::move(cpuid)) {}

  const AcceleratorOptions options_;
  kvm::System system_;
  kvm::Userfaultfd uffd_;
  UffdGuard guard_{uffd_};
  std::optional<kvm::Vm> vm_;
  const std::vector<kvm_cpuid_entry2> cpuid_;
  GuestRam* ram_ = nullptr;
  std::uint32_t slot_flags_ = 0;
  bool is_pc_ = false;
  std::unique_ptr<FaultService> service_;
};

} // namespace

Result<std::unique_ptr<Accelerator>> open_kvm(const AcceleratorOptions& options) {
  return KvmAccelerator::open(options);
}

} // namespace slat::vmm
