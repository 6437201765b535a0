#include "vmm/virtio/mmio_transport.hpp"

#include <bit>
#include <cstring>
#include <fmt/format.h>
#include <pthread.h>
#include <system_error>

namespace slat::vmm::virtio {

namespace {

enum Register : std::uint64_t {
  magic = 0x00,
  version = 0x04,
  device_id = 0x08,
  vendor_id = 0x0c,
  device_features = 0x10,
  device_features_select = 0x14,
  driver_features = 0x20,
  driver_features_select = 0x24,
  queue_select = 0x30,
  queue_size_max = 0x34,
  queue_size = 0x38,
  queue_ready = 0x44,
  queue_notify = 0x50,
  interrupt_status = 0x60,
  interrupt_ack = 0x64,
  status = 0x70,
  descriptors_low = 0x80,
  descriptors_high = 0x84,
  available_low = 0x90,
  available_high = 0x94,
  used_low = 0xa0,
  used_high = 0xa4,
  shared_memory_length_low = 0xb0,
  shared_memory_base_high = 0xbc,
  config_generation = 0xfc,
  config = 0x100,
};

constexpr std::uint32_t magic_value = 0x74726976; // "virt"
constexpr std::uint32_t our_vendor = 0x74616c73;  // "slat"

constexpr std::uint64_t feature_indirect = 1ULL << 28;
constexpr std::uint64_t feature_version_1 = 1ULL << 32;

constexpr std::uint32_t status_features_ok = 8;
constexpr std::uint32_t status_driver_ok = 4;
constexpr std::uint32_t status_needs_reset = 64;

constexpr std::uint32_t interrupt_used = 1;
constexpr std::uint32_t interrupt_config = 2;

std::uint32_t half(std::uint64_t value, std::uint32_t select) {
  if (select > 1) return 0;
  return static_cast<std::uint32_t>(value >> (32 * select));
}

void set_half(std::uint64_t& value, bool high, std::uint32_t part) {
  const unsigned shift = high ? 32 : 0;
  value = (value & ~(0xffffffffULL << shift)) | std::uint64_t{part} << shift;
}

} // namespace

MmioTransport::MmioTransport(Device& device, GuestRam& ram, Interrupt interrupt, OnBroken on_broken,
                             SeccompMode seccomp)
    : device_(&device), ram_(&ram), interrupt_(std::move(interrupt)),
      on_broken_(std::move(on_broken)), seccomp_(seccomp) {
  for (unsigned i = 0; i < device.queues(); ++i) workers_.push_back(std::make_unique<Worker>());
}

Result<std::unique_ptr<MmioTransport>> MmioTransport::create(Device& device, GuestRam& ram,
                                                             Interrupt interrupt,
                                                             OnBroken on_broken,
                                                             SeccompMode seccomp) {
  std::unique_ptr<MmioTransport> transport(
      new MmioTransport(device, ram, std::move(interrupt), std::move(on_broken), seccomp));
  device.attach(*transport);
  for (unsigned i = 0; i < device.queues(); ++i) {
    try {
      transport->workers_[i]->thread = std::thread([t = transport.get(), i] { t->run(i); });
    } catch (const std::system_error& error) { // std::thread's only way to say no
      return fail(Errc::host_limit, error.code().value(),
                  fmt::format("cannot start a thread of device '{}': {}; raise the limit on "
                              "processes (ulimit -u)",
                              device.name(), error.code().message()));
    }
  }
  return transport;
}

MmioTransport::~MmioTransport() {
  for (const auto& worker : workers_) {
    mmu::MutexGuard guard(worker->wake);
    worker->ending = true;
    worker->changed.notify_all();
  }
  for (const auto& worker : workers_)
    if (worker->thread.joinable()) worker->thread.join();
}

void MmioTransport::read(std::uint64_t offset, std::span<std::byte> data) {
  mmu::MutexGuard guard(registers_);
  if (offset >= config) return device_->read_config(offset - config, data);
  // Registers have 4 bytes, and are read as a whole.
  const std::uint32_t value =
      data.size() == sizeof value && offset % sizeof value == 0 ? read_register(offset) : 0;
  std::memset(data.data(), 0, data.size());
  std::memcpy(data.data(), &value, std::min(sizeof value, data.size()));
}

void MmioTransport::write(std::uint64_t offset, std::span<const std::byte> data) {
  std::uint32_t value = 0;
  if (offset == queue_notify && data.size() == sizeof value) { // often, and takes no lock
    std::memcpy(&value, data.data(), sizeof value);
    if (value < workers_.size()) kick(value);
    return;
  }
  mmu::MutexGuard guard(registers_);
  if (offset >= config) return device_->write_config(offset - config, data);
  if (data.size() != sizeof value || offset % sizeof value != 0) return;
  std::memcpy(&value, data.data(), sizeof value);
  write_register(offset, value);
}

std::uint32_t MmioTransport::read_register(std::uint64_t offset) {
  Worker* const worker = queue_select_ < workers_.size() ? workers_[queue_select_].get() : nullptr;
  switch (offset) {
  case magic:
    return magic_value;
  case version:
    return 2;
  case device_id:
    return static_cast<std::uint32_t>(device_->type());
  case vendor_id:
    return our_vendor;
  case device_features:
    return half(device_->features() | feature_version_1 | feature_indirect,
                device_features_select_);
  case queue_size_max:
    return worker != nullptr ? Queue::max_size : 0;
  case queue_ready:
    return worker != nullptr && worker->ready ? 1 : 0;
  case interrupt_status:
    return interrupt_status_.load(std::memory_order_acquire); // pairs with set_interrupt()
  case status:
    return status_.load(std::memory_order_acquire); // pairs with break_device()
  case config_generation:
    return config_generation_.load(std::memory_order_acquire); // pairs with config_changed()
  default:
    // There are no shared memory regions: all ones.
    return offset >= shared_memory_length_low && offset <= shared_memory_base_high ? UINT32_MAX : 0;
  }
}

void MmioTransport::write_register(std::uint64_t offset, std::uint32_t value) {
  const std::uint32_t now = status_.load(std::memory_order_relaxed); // the driver's bits are ours
  switch (offset) {
  case device_features_select:
    device_features_select_ = value;
    return;
  case driver_features_select:
    driver_features_select_ = value;
    return;
  case driver_features:
    if ((now & status_features_ok) == 0 && driver_features_select_ < 2)
      set_half(driver_features_, driver_features_select_ == 1, value);
    return;
  case queue_select:
    queue_select_ = value;
    return;
  case interrupt_ack:
    interrupt_status_.fetch_and(~value, std::memory_order_acq_rel); // pairs with set_interrupt()
    return;
  case status:
    write_status(value);
    return;
  default:
    if ((now & status_driver_ok) == 0) write_queue(offset, value);
  }
}

void MmioTransport::write_queue(std::uint64_t offset, std::uint32_t value) {
  if (queue_select_ >= workers_.size()) return;
  Worker& worker = *workers_[queue_select_];
  if (offset == queue_ready) return make_ready(worker, value == 1);
  if (worker.ready) return;
  QueueLayout& layout = worker.layout;
  switch (offset) {
  case queue_size:
    layout.size = value;
    break;
  case descriptors_low:
  case descriptors_high:
    set_half(layout.descriptors, offset == descriptors_high, value);
    break;
  case available_low:
  case available_high:
    set_half(layout.available, offset == available_high, value);
    break;
  case used_low:
  case used_high:
    set_half(layout.used, offset == used_high, value);
    break;
  default:
    break;
  }
}

void MmioTransport::make_ready(Worker& worker, bool ready) {
  worker.ready = false;
  mmu::MutexGuard guard(worker.serving);
  worker.queue.reset();
  if (!ready) return;
  auto queue = Queue::create(*ram_, worker.layout);
  if (!queue) return break_device(queue.error().message);
  worker.queue = *queue;
  worker.ready = true;
}

void MmioTransport::write_status(std::uint32_t value) {
  if (value == 0) return reset();
  const std::uint32_t before = status_.load(std::memory_order_relaxed); // only we take bits away
  std::uint32_t added = value & ~before & ~status_needs_reset;
  const std::uint64_t offered = device_->features() | feature_version_1 | feature_indirect;
  if ((added & status_features_ok) != 0 &&
      ((driver_features_ & ~offered) != 0 || (driver_features_ & feature_version_1) == 0))
    added &= ~status_features_ok; // the driver reads it back, and finds that we cannot
  if (((before | added) & status_features_ok) == 0) added &= ~status_driver_ok;
  if ((added & status_driver_ok) != 0) activate();    // before a queue's thread may see it
  status_.fetch_or(added, std::memory_order_acq_rel); // pairs with serve_once()
  if ((added & status_driver_ok) != 0) // what was notified too early is not forgotten
    for (unsigned i = 0; i < workers_.size(); ++i) kick(i);
}

void MmioTransport::activate() {
  device_->activate(driver_features_);
}

void MmioTransport::reset() {
  // First no queue is served any more: each thread looks at the status under its lock, which we take once.
  status_.store(0, std::memory_order_release); // pairs with serve_once()
  for (const auto& worker : workers_) {
    worker->ready = false;
    worker->layout = {};
    mmu::MutexGuard guard(worker->serving);
    worker->queue.reset();
  }
  device_->reset();
  status_.store(0, std::memory_order_release);           // NEEDS_RESET may have come meanwhile
  interrupt_status_.store(0, std::memory_order_release); // pairs with read_register()
  driver_features_ = 0;
  device_features_select_ = driver_features_select_ = queue_select_ = 0;
}

void MmioTransport::run(unsigned index) {
  pthread_setname_np(pthread_self(), fmt::format("slat-{}-{}", device_->name(), index).c_str());
  if (auto ok = enter_sandbox(ThreadKind::device, seccomp_); !ok)
    return break_device(ok.error().message); // and nothing is served unfiltered
  serve_all(index);
}

void MmioTransport::serve_all(unsigned index) {
  Worker& worker = *workers_[index];
  for (;;) {
    {
      mmu::MutexGuard guard(worker.wake);
      worker.busy = false;
      worker.changed.notify_all();
      while (!worker.notified && !worker.ending) guard.wait(worker.changed);
      if (worker.ending) return;
      worker.notified = false;
      worker.busy = true;
    }
    serve_once(index);
  }
}

void MmioTransport::serve_once(unsigned index) {
  Worker& worker = *workers_[index];
  mmu::MutexGuard guard(worker.serving);
  const std::uint32_t now = status_.load(std::memory_order_acquire); // pairs with write_status()
  if ((now & status_driver_ok) == 0 || (now & status_needs_reset) != 0 || !worker.queue) return;
  auto ok = device_->process(index, *worker.queue, *ram_);
  if (ok) ok = signal(*worker.queue, *this);
  if (!ok) break_device(ok.error().message); // under the lock: a reset comes before it or after it
}

void MmioTransport::kick(unsigned queue) {
  Worker& worker = *workers_[queue];
  mmu::MutexGuard guard(worker.wake);
  worker.notified = true;
  worker.changed.notify_all();
}

void MmioTransport::raise() {
  set_interrupt(interrupt_used);
}

void MmioTransport::config_changed() {
  config_generation_.fetch_add(1, std::memory_order_acq_rel); // pairs with read_register()
  set_interrupt(interrupt_config);
}

void MmioTransport::set_interrupt(std::uint32_t cause) {
  interrupt_status_.fetch_or(cause, std::memory_order_acq_rel); // pairs with read_register()
  interrupt_();
}

void MmioTransport::break_device(const std::string& why) {
  const std::uint32_t before =
      status_.fetch_or(status_needs_reset, std::memory_order_acq_rel); // pairs with serve_once()
  if ((before & status_needs_reset) != 0) return;
  on_broken_(fmt::format("device '{}': {}", device_->name(), why));
  config_changed();
}

void MmioTransport::drain() {
  for (const auto& worker : workers_) {
    mmu::MutexGuard guard(worker->wake);
    while (worker->notified || worker->busy) guard.wait(worker->changed);
  }
}

} // namespace slat::vmm::virtio
