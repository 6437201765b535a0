#include "vmm/machine.hpp"

#include "vmm/acpi.hpp"
#include "vmm/boot_params.hpp"
#include "vmm/image_file.hpp"
#include "vmm/layout.hpp"
#include "vmm/printable.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace slat::vmm {

Machine::Machine(MachineConfig config)
    : config_(std::move(config)), serial_(config_.serial,
                                          [this](bool raised) {
                                            if (is_pc_)
                                              accelerator_->set_irq_line(Serial::com1_irq, raised);
                                          }),
      debug_exit_([this](std::uint8_t code) {
        stop_as({.reason = MachineEnd::Reason::exited, .exit_code = code});
      }),
      power_([this](PowerControl::Request request) {
        stop_as({.reason = request == PowerControl::Request::off ? MachineEnd::Reason::exited
                                                                 : MachineEnd::Reason::reset});
      }) {}

void Machine::stop_as(MachineEnd how) {
  {
    mmu::MutexGuard guard(mutex_);
    end(std::move(how));
  }
  request_stop();
}

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
  if (auto ok = prepare_sandbox(config_.seccomp); !ok) return ok;
  auto accelerator = open_accelerator(config_.accel,
                                      {.kvm_device = config_.kvm_device,
                                       .cpus = config_.cpus,
                                       .fault_threads = config_.fault_threads,
                                       .fault_around = config_.fault_around,
                                       .seccomp = config_.seccomp},
                                      accelerator_note_);
  if (!accelerator) return forward(accelerator);
  accelerator_ = std::move(*accelerator);
  if (config_.cpus < 1 || config_.cpus > accelerator_->max_vcpus())
    return fail(Errc::invalid_argument, 0,
                fmt::format("--cpus {}: {} allows 1 to {} vCPUs here; give fewer", config_.cpus,
                            accelerator_->name(), accelerator_->max_vcpus()));
  ended_fd_ = kvm::Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (ended_fd_.get() < 0)
    return fail(
        Errc::host_limit, errno,
        fmt::format("cannot create an eventfd: {}; raise the limit on open files (ulimit -n)",
                    std::strerror(errno)));
  return {};
}

Result<void> Machine::make_memory() {
  auto ram = GuestRam::create(config_.memory,
                              {.vma_lock = config_.vma_lock, .guard = accelerator_->guard()},
                              counters_, config_.memory_slot, config_.spare_memory);
  if (!ram) return forward(ram);
  ram_ = std::move(*ram);
  return accelerator_->attach_memory(*ram_, [this](const std::string& why) {
    {
      mmu::MutexGuard guard(mutex_);
      end({.reason = MachineEnd::Reason::crashed, .report = why + '\n'});
    }
    // Acquire: the vCPUs. Before they are all there start() looks at the end.
    if (built_.load(std::memory_order_acquire)) request_stop(); // pairs with make_vcpus()
  });
}

Result<void> Machine::load() {
  const auto* const builtin = std::get_if<BuiltinImage>(&config_.kernel);
  ImageFile file; // freed before the guest runs
  if (builtin == nullptr) {
    auto read = read_image_file(std::get<std::filesystem::path>(config_.kernel), "kernel");
    if (!read) return forward(read);
    file = std::move(*read);
  }
  const auto image = builtin != nullptr ? builtin->bytes : file.bytes();
  const std::string name = builtin != nullptr
                               ? std::string(builtin->name)
                               : std::get<std::filesystem::path>(config_.kernel).native();
  if (is_bzimage(image)) {
    auto linux_image = load_bzimage(*ram_, image, name);
    return linux_image ? load_linux(*linux_image) : Result<void>(forward(linux_image));
  }
  auto kernel = load_elf(*ram_, image, name);
  if (!kernel) return forward(kernel);
  kernel_ = *kernel;
  if (kernel_.notes.is_linux)
    return load_linux({.entry = kernel_.entry,
                       .room = {kernel_.image_start, kernel_.image_end - kernel_.image_start},
                       .initrd_end = device_hole_end,
                       .max_command_line = max_command_line,
                       .setup_header = {}});
  if (!config_.devices.empty())
    return fail(Errc::invalid_argument, 0,
                fmt::format("virtio devices: kernel '{}' is not Linux and would not look at them",
                            printable(name)));
  if (!config_.initrd.empty())
    return fail(Errc::invalid_argument, 0,
                fmt::format("--initrd: kernel '{}' is not Linux and would not look at it",
                            printable(name)));
  if (auto ok = write_boot_params(*ram_, {.command_line = config_.command_line}); !ok) return ok;
  auto entry = write_boot_tables(*ram_, kernel_.entry);
  if (!entry) return forward(entry);
  entry_ = *entry;
  return {};
}

Result<void> Machine::load_linux(const LinuxImage& kernel) {
  if (auto ok = accelerator_->make_pc(); !ok) return ok;
  is_pc_ = true;
  if (config_.command_line.size() > kernel.max_command_line)
    return fail(
        Errc::invalid_argument, 0,
        fmt::format("kernel command line of {} bytes is longer than the {} that this kernel "
                    "reads; shorten it",
                    config_.command_line.size(), kernel.max_command_line));
  std::optional<GpaRange> initrd;
  if (!config_.initrd.empty()) {
    auto file = read_image_file(config_.initrd, "initrd");
    if (!file) return forward(file);
    auto loaded = load_initrd(*ram_, file->bytes(), config_.initrd.native(), kernel);
    if (!loaded) return forward(loaded);
    initrd = *loaded;
  }
  auto devices = virtio::Devices::create(
      config_.devices, *ram_, [this](unsigned gsi) { pulse(gsi); }, config_.notice,
      config_.seccomp);
  if (!devices) return forward(devices);
  devices_ = std::move(*devices);
  if (auto ok = devices_->attach(mmio_); !ok) return ok;
  auto tables = write_acpi_tables(*ram_, {.cpus = config_.cpus, .virtio = devices_->places()});
  if (!tables) return forward(tables);
  if (auto ok = PowerControl::write_reset_vector(*ram_); !ok) return ok;
  if (auto ok = write_boot_params(*ram_, {.command_line = config_.command_line,
                                          .initrd = initrd,
                                          .acpi_rsdp = *tables,
                                          .setup_header = kernel.setup_header});
      !ok)
    return ok;
  auto entry = write_boot_tables(*ram_, kernel.entry);
  if (!entry) return forward(entry);
  entry_ = *entry;
  return {};
}

void Machine::pulse(unsigned gsi) {
  accelerator_->set_irq_line(gsi, true);
  accelerator_->set_irq_line(gsi, false);
}

ConsoleInput& Machine::console() {
  if (devices_ != nullptr && devices_->console() != nullptr) return *devices_->console();
  return serial_;
}

Result<void> Machine::make_vcpus() {
  if (auto ok = ports_.attach(Serial::com1_ports, serial_, "serial"); !ok) return ok;
  if (is_pc_)
    if (auto ok = power_.attach(ports_); !ok) return ok;
  if (auto ok = ports_.attach(DebugExit::ports, debug_exit_, "debug exit"); !ok) return ok;
  for (unsigned i = 0; i < config_.cpus; ++i) {
    EntryState entry = entry_;
    entry.rdi = i;
    entry.rdx = config_.cpus;
    auto vcpu = accelerator_->create_vcpu(i, entry);
    if (!vcpu) return forward(vcpu);
    vcpus_.push_back(std::make_unique<VcpuThread>(
        i, std::move(*vcpu), gate_, *ram_, ports_, mmio_, config_.seccomp,
        [this](unsigned index, const VcpuEnd& end) { vcpu_ended(index, end); }));
  }
  built_.store(true, std::memory_order_release); // pairs with whoever fails from another thread
  return {};
}

Machine::~Machine() {
  // vCPUs and fault threads may call request_stop(), which goes through all vCPUs: none is destroyed before all threads
  // have ended.
  request_stop();
  for (const auto& vcpu : vcpus_) vcpu->join();
  devices_.reset();
  if (accelerator_ != nullptr) accelerator_->detach_memory();
  vcpus_.clear();
  ram_.reset();
}

Result<void> Machine::start() {
  // Without a wish of the image, further vCPUs wait for the first one to start them.
  // (Those of a PC wait in KVM.)
  const std::size_t starting = kernel_.notes.all_vcpus_start || is_pc_ ? vcpus_.size() : 1;
  bool failed = false;
  {
    mmu::MutexGuard guard(mutex_);
    running_ = unsigned(starting);
    failed = end_.has_value();
  }
  if (failed) request_stop(); // vCPUs that are to stop end as they start
  Result<void> result;
  for (std::size_t i = 0; i < starting; ++i)
    if (auto ok = vcpus_[i]->start(); !ok && result) {
      result = std::move(ok);
      request_stop();
    }
  return result;
}

void Machine::request_stop() {
  for (const auto& vcpu : vcpus_) vcpu->request_stop();
}

void Machine::request_samples() {
  for (const auto& vcpu : vcpus_) vcpu->request_sample();
}

std::vector<VcpuSample> Machine::samples() {
  std::vector<VcpuSample> all;
  for (const auto& vcpu : vcpus_)
    if (vcpu->state() == VcpuState::running) all.push_back(vcpu->sample());
  return all;
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

void Machine::kick_vcpus() {
  for (const auto& vcpu : vcpus_) vcpu->vcpu().request_exit();
}

void Machine::keep_vcpus_out() {
  gate_.close([this] { kick_vcpus(); });
}

void Machine::pause() {
  gate_.pause([this] { kick_vcpus(); });
}

void Machine::resume() {
  gate_.resume();
}

Result<void> Machine::migrate(const GpaRange& range, std::uint64_t place) {
  // A software vCPU reads no mapping of the host: it faults, and waits for the range.
  const bool kept_out = accelerator_->soft_memory() == nullptr;
  if (kept_out) keep_vcpus_out();
  auto result = ram_->migrate(range, place);
  if (kept_out) gate_.open();
  return result;
}

Result<void> Machine::change_slot(std::size_t region, SlotChange change) {
  keep_vcpus_out();
  const auto exchange = [&]() -> Result<void> {
    if (auto ok = accelerator_->remove_slot(region); !ok) return ok;
    if (change == SlotChange::move)
      if (auto ok = ram_->move_view(region); !ok) {
        (void)accelerator_->add_slot(region); // where it was
        return ok;
      }
    return accelerator_->add_slot(region);
  };
  auto result = exchange();
  gate_.open();
  return result;
}

std::uint64_t Machine::instructions() const {
  std::uint64_t sum = 0;
  for (const auto& vcpu : vcpus_) sum += vcpu->vcpu().instructions();
  return sum;
}

std::optional<MachineEnd> Machine::wait_for(std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  mmu::MutexGuard guard(mutex_);
  while (running_ != 0 || !end_)
    if (!guard.wait_until(changed_, deadline)) return std::nullopt;
  return end_;
}

} // namespace slat::vmm
