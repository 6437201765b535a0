#include "slat/bench_guest.hpp"

#include "guests/abi.hpp"
#include "guests/builtin.hpp"
#include "slat/mailbox.hpp"
#include "slat/run.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <fmt/format.h>
#include <thread>

namespace slat::tool {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t batch = 16; // visits between two looks of a vCPU at the mailbox

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

} // namespace

struct BenchGuest::Visits {
  bool running = false; // every page has been written once
  unsigned vcpus = 0;
  std::uint64_t pages = 0; // tested
  std::uint64_t sum = 0;
  std::array<std::uint64_t, guest::max_vcpus> of_vcpu{};

  /// Each vCPU has made as many more since.
  [[nodiscard]] bool all_ahead_of(const Visits& before, std::uint64_t more) const {
    for (unsigned i = 0; i < vcpus; ++i)
      if (of_vcpu[i] < before.of_vcpu[i] + more) return false;
    return true;
  }
};

vmm::Result<std::unique_ptr<BenchGuest>> BenchGuest::start(const MachineOptions& options,
                                                           vmm::Accel accel,
                                                           mmu::VmaLockDesign design,
                                                           const BenchGuestOptions& guest_options) {
  auto config = options.config();
  if (!config) return vmm::forward(config);
  if (config->cpus > guest::max_vcpus)
    return vmm::fail(vmm::Errc::invalid_argument, 0,
                     fmt::format("--cpus {}: memstress has room for {} vCPUs; give 1 to {}",
                                 config->cpus, guest::max_vcpus, guest::max_vcpus));
  config->accel = accel;
  config->vma_lock = design;
  config->seccomp = vmm::SeccompMode::off;
  config->kernel = vmm::BuiltinImage{guest::builtin_memstress(), "built-in memstress"};
  config->command_line = !guest_options.command_line.empty() ? guest_options.command_line
                         : guest_options.overlap ? "mode=touch order=seq shared=0 overlap quiet"
                                                 : "mode=touch order=seq shared=0 quiet";
  auto machine = vmm::Machine::create(std::move(*config));
  if (!machine) return vmm::forward(machine);
  if (auto ok = use_backing(**machine, guest_options.backing); !ok) return vmm::forward(ok);
  vmm::Accelerator& accelerator = (*machine)->accelerator();
  if (auto* const service = accelerator.fault_service())
    service->set_delay(guest_options.fault_delay);
  if (auto* const memory = accelerator.soft_memory()) memory->set_delay(guest_options.fault_delay);
  std::unique_ptr<BenchGuest> guest(new BenchGuest(std::move(*machine), guest_options.overlap));
  if (auto ok = guest->machine_->start(); !ok) return vmm::forward(ok);
  return guest;
}

BenchGuest::~BenchGuest() {
  stop();
}

void BenchGuest::stop() {
  machine_->request_stop();
  while (!machine_->wait_for(std::chrono::seconds(1))) {
  }
}

vmm::Result<void> BenchGuest::pause_to_poll() {
  if (pending_signal()) return vmm::fail(vmm::Errc::host_failed, 0, "interrupted");
  if (const auto end = machine_->wait_for(std::chrono::milliseconds(0)))
    return vmm::fail(vmm::Errc::guest_crashed, 0,
                     fmt::format("the guest ended before the benchmark\n{}", end->report));
  std::this_thread::sleep_for(std::chrono::microseconds(200));
  return {};
}

vmm::Result<BenchGuest::Visits> BenchGuest::look() {
  auto mailbox = sample_mailbox(*machine_);
  if (!mailbox) return vmm::forward(mailbox);
  Visits visits;
  visits.running = mailbox->state == std::uint32_t(guest::GuestState::running);
  visits.vcpus = mailbox->vcpu_count;
  visits.pages = mailbox->tested_pages;
  for (unsigned i = 0; i < guest::max_vcpus; ++i) {
    visits.of_vcpu[i] = mailbox->slots[i].pages;
    visits.sum += mailbox->slots[i].pages;
  }
  return visits;
}

vmm::Result<void> BenchGuest::wait_until_populated() {
  for (;;) {
    auto visits = look();
    if (!visits) return vmm::forward(visits);
    pages_ = visits->pages;
    if (visits->running) return {};
    if (auto ok = pause_to_poll(); !ok) return ok;
  }
}

vmm::Result<void> BenchGuest::set_writing(bool writing) {
  const std::uint32_t value = writing ? 1 : 0;
  const vmm::Gpa page = machine_->kernel().notes.mailbox.value();
  if (auto ok = machine_->ram().write(page + offsetof(guest::Mailbox, touch_writes),
                                      std::as_bytes(std::span(&value, 1)));
      !ok)
    return ok;
  auto before = look();
  if (!before) return vmm::forward(before);
  for (;;) {
    auto now = look();
    if (!now) return vmm::forward(now);
    if (now->all_ahead_of(*before, 2 * batch)) return {};
    if (auto ok = pause_to_poll(); !ok) return ok;
  }
}

vmm::Result<double> BenchGuest::touch_all() {
  const auto start = Clock::now();
  auto before = look();
  if (!before) return vmm::forward(before);
  const std::uint64_t share = overlap_ ? pages_ : pages_ / before->vcpus + 1;
  for (;;) {
    auto now = look();
    if (!now) return vmm::forward(now);
    if (now->all_ahead_of(*before, share)) return seconds_since(start);
    if (auto ok = pause_to_poll(); !ok) return vmm::forward(ok);
  }
}

vmm::Result<double> BenchGuest::visits_per_second(double seconds) {
  const auto start = Clock::now();
  auto before = look();
  if (!before) return vmm::forward(before);
  while (seconds_since(start) < seconds)
    if (auto ok = pause_to_poll(); !ok) return vmm::forward(ok);
  auto after = look();
  if (!after) return vmm::forward(after);
  return double(after->sum - before->sum) / seconds_since(start);
}

vmm::Result<void> BenchGuest::zap_all() {
  for (const vmm::GuestRam::Region& region : machine_->ram().regions())
    if (auto ok =
            machine_->ram().mm().advise(region.guest_view, region.gpa.size, mmu::Advice::dontneed);
        !ok)
      return vmm::fail(vmm::Errc::host_failed, ok.error().os_error, ok.error().message);
  return {};
}

vmm::Result<std::vector<vmm::Accel>> bench_accelerators(const MachineOptions& options) {
  auto config = options.config();
  if (!config) return vmm::forward(config);
  if (config->accel == vmm::Accel::soft) return std::vector{vmm::Accel::soft};
  auto kvm = vmm::open_kvm({.kvm_device = config->kvm_device, .cpus = config->cpus});
  if (config->accel == vmm::Accel::kvm) {
    if (!kvm) return vmm::forward(kvm);
    return std::vector{vmm::Accel::kvm};
  }
  if (kvm) return std::vector{vmm::Accel::kvm, vmm::Accel::soft};
  fmt::print(stderr, "slat: no KVM here, so the software vCPU alone: {}\n", kvm.error().message);
  return std::vector{vmm::Accel::soft};
}

std::string_view accel_name(vmm::Accel accel) {
  return accel == vmm::Accel::kvm ? "kvm" : "soft";
}

} // namespace slat::tool
