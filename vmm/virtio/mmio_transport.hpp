// MmioTransport: the registers of a virtio device, and the threads that serve its queues. After virtio 1.2, section 4.2.
//
// Status, as the driver moves it (each bit once, 0 resets):
//
//   0 -> ACKNOWLEDGE -> DRIVER -> FEATURES_OK, if we can do what was chosen -> DRIVER_OK: the device is active
//   active -> NEEDS_RESET, set by us when the driver has broken a rule: nothing is served until it writes 0
//
// Locks, in this order: registers_, held for an access and for a reset; each queue's own, held while its thread serves
// it. So a reset returns when nothing of the device is at work. Interrupt state and status are atomics: threads that
// serve change them without registers_.
#pragma once

#include "mmu/thread_safety.hpp"
#include "vmm/mmio_bus.hpp"
#include "vmm/seccomp.hpp"
#include "vmm/virtio/device.hpp"

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace slat::vmm::virtio {

class MmioTransport final : public MmioDevice, private DeviceHost {
 public:
  static constexpr std::uint64_t register_bytes = 0x200; // of the address space

  /// An edge on the device's interrupt line. Any thread; does not sleep.
  using Interrupt = std::function<void()>;
  /// The driver has broken a rule, or the host cannot go on: one line. A queue's thread, at most once for each reset.
  using OnBroken = std::function<void(const std::string& why)>;

  /// Starts a thread a queue, with the filter of ThreadKind::device; prepare_sandbox() first. The device and the RAM
  /// outlive it. Errors: host_limit.
  static Result<std::unique_ptr<MmioTransport>> create(Device& device, GuestRam& ram,
                                                       Interrupt interrupt, OnBroken on_broken,
                                                       SeccompMode seccomp);
  /// Ends the threads. Nobody accesses it any more, and the RAM's faults are still served.
  ~MmioTransport() override;

  void write(std::uint64_t offset, std::span<const std::byte> data) override;
  void read(std::uint64_t offset, std::span<std::byte> data) override;

  /// Sleeps until every queue has been served since it was last notified. For tests and fuzzing, with no driver beside.
  void drain();

 private:
  struct Worker {
    QueueLayout layout = {}; // under registers_
    bool ready = false;      // under registers_
    mmu::Mutex serving{mmu::LockRank::device_queue};
    std::optional<Queue> queue SLAT_GUARDED_BY(serving);
    mmu::Mutex wake; // a leaf
    std::condition_variable changed;
    bool notified SLAT_GUARDED_BY(wake) = false;
    bool busy SLAT_GUARDED_BY(wake) = false;
    bool ending SLAT_GUARDED_BY(wake) = false;
    std::thread thread;
  };

  MmioTransport(Device& device, GuestRam& ram, Interrupt interrupt, OnBroken on_broken,
                SeccompMode seccomp);

  void kick(unsigned queue) override;
  void config_changed() override;
  void raise() override;

  std::uint32_t read_register(std::uint64_t offset) SLAT_REQUIRES(registers_);
  void write_register(std::uint64_t offset, std::uint32_t value) SLAT_REQUIRES(registers_);
  void write_queue(std::uint64_t offset, std::uint32_t value) SLAT_REQUIRES(registers_);
  void write_status(std::uint32_t value) SLAT_REQUIRES(registers_);
  void make_ready(Worker& worker, bool ready) SLAT_REQUIRES(registers_);
  void activate() SLAT_REQUIRES(registers_);
  void reset() SLAT_REQUIRES(registers_);
  void run(unsigned index);
  void serve_all(unsigned index);
  void serve_once(unsigned index);
  void set_interrupt(std::uint32_t cause);
  void break_device(const std::string& why);

  Device* device_;
  GuestRam* ram_;
  const Interrupt interrupt_;
  const OnBroken on_broken_;
  const SeccompMode seccomp_;
  std::vector<std::unique_ptr<Worker>> workers_; // constant after create()

  mmu::Mutex registers_{mmu::LockRank::device};
  std::uint32_t device_features_select_ SLAT_GUARDED_BY(registers_) = 0;
  std::uint32_t driver_features_select_ SLAT_GUARDED_BY(registers_) = 0;
  std::uint32_t queue_select_ SLAT_GUARDED_BY(registers_) = 0;
  std::uint64_t driver_features_ SLAT_GUARDED_BY(registers_) = 0;
  std::atomic<std::uint32_t> status_{0};
  std::atomic<std::uint32_t> interrupt_status_{0};
  std::atomic<std::uint32_t> config_generation_{0};
};

} // namespace slat::vmm::virtio
