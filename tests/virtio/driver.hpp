// Driver: the guest's side of a virtio device, in the test: the registers, and rings in guest RAM.
#pragma once

#include "vmm/layout.hpp"
#include "vmm/virtio/mmio_transport.hpp"

#include <atomic>
#include <cstring>
#include <gtest/gtest.h>
#include <mutex>
#include <string>
#include <vector>

namespace slat::vmm::virtio {

constexpr std::uint64_t version_1 = 1ULL << 32;

/// A device of its own with 4 MiB of RAM.
class Rig {
 public:
  explicit Rig(Device& device, std::uint64_t memory = 4 * mib) {
    auto made = GuestRam::create(memory, {}, counters_);
    SLAT_CHECK(bool(made), "no RAM");
    ram_ = std::move(*made);
    auto transport = MmioTransport::create(
        device, *ram_, [this] { interrupts_.fetch_add(1); },
        [this](const std::string& why) {
          const std::lock_guard lock(mutex_);
          broken_.push_back(why);
        },
        SeccompMode::off);
    SLAT_CHECK(bool(transport), "no transport");
    transport_ = std::move(*transport);
  }

  [[nodiscard]] GuestRam& ram() { return *ram_; }

  [[nodiscard]] MmioTransport& transport() { return *transport_; }

  [[nodiscard]] unsigned interrupts() const { return interrupts_.load(); }

  [[nodiscard]] std::vector<std::string> broken() {
    const std::lock_guard lock(mutex_);
    return broken_;
  }

  std::uint32_t read(std::uint64_t offset) {
    std::uint32_t value = 0;
    transport_->read(offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }

  void write(std::uint64_t offset, std::uint32_t value) {
    transport_->write(offset, std::as_bytes(std::span(&value, 1)));
  }

  template <class T> T load(Gpa address) {
    T value{};
    EXPECT_TRUE(ram_->read(address, std::as_writable_bytes(std::span(&value, 1))));
    return value;
  }

  template <class T> void store(Gpa address, const T& value) {
    EXPECT_TRUE(ram_->write(address, std::as_bytes(std::span(&value, 1))));
  }

  std::vector<std::byte> bytes(Gpa address, std::size_t count) {
    std::vector<std::byte> found(count);
    EXPECT_TRUE(ram_->read(address, found));
    return found;
  }

 private:
  mmu::Counters counters_;
  std::unique_ptr<GuestRam> ram_;
  std::atomic<unsigned> interrupts_{0};
  std::mutex mutex_;
  std::vector<std::string> broken_;
  std::unique_ptr<MmioTransport> transport_; // last: its threads end first
};

struct Descriptor {
  std::uint64_t address;
  std::uint32_t length;
  std::uint16_t flags;
  std::uint16_t next;
};

constexpr std::uint16_t next_flag = 1;
constexpr std::uint16_t write_flag = 2;
constexpr std::uint16_t indirect_flag = 4;

struct Used {
  std::uint32_t id;
  std::uint32_t length;
  bool operator==(const Used&) const = default;
};

struct Buffer {
  Gpa address;
  std::uint32_t length;
  bool writable;
};

class Driver {
 public:
  static constexpr std::uint16_t queue_entries = 16;

  explicit Driver(Rig& rig) : rig_(&rig) {}

  static Gpa descriptors(unsigned queue) { return 0x10000 + queue * 0x4000; }

  static Gpa available(unsigned queue) { return descriptors(queue) + 0x1000; }

  static Gpa used_ring(unsigned queue) { return descriptors(queue) + 0x2000; }

  /// Everything up to DRIVER_OK.
  void start(unsigned queues, std::uint64_t features = 0) {
    negotiate(features);
    for (unsigned i = 0; i < queues; ++i) set_up(i);
    rig_->write(0x70, 15);
  }

  void negotiate(std::uint64_t features) {
    rig_->write(0x70, 0);
    rig_->write(0x70, 1);
    rig_->write(0x70, 3);
    features |= version_1;
    for (std::uint32_t i = 0; i < 2; ++i) {
      rig_->write(0x24, i);
      rig_->write(0x20, static_cast<std::uint32_t>(features >> (32 * i)));
    }
    rig_->write(0x70, 11);
  }

  void set_up(unsigned queue) {
    rig_->store<std::uint32_t>(available(queue), 0);
    rig_->store<std::uint32_t>(used_ring(queue), 0);
    next_.resize(std::max<std::size_t>(next_.size(), queue + 1));
    next_[queue] = {};
    rig_->write(0x30, queue);
    rig_->write(0x38, queue_entries);
    rig_->write(0x80, static_cast<std::uint32_t>(descriptors(queue)));
    rig_->write(0x84, 0);
    rig_->write(0x90, static_cast<std::uint32_t>(available(queue)));
    rig_->write(0x94, 0);
    rig_->write(0xa0, static_cast<std::uint32_t>(used_ring(queue)));
    rig_->write(0xa4, 0);
    rig_->write(0x44, 1);
  }

  void descriptor(unsigned queue, unsigned index, const Descriptor& value) {
    rig_->store(descriptors(queue) + sizeof value * index, value);
  }

  /// Makes a buffer available whose first descriptor is `head`.
  void offer(unsigned queue, std::uint16_t head) {
    Next& next = next_[queue];
    rig_->store<std::uint16_t>(available(queue) + 4 + 2 * (next.available % queue_entries), head);
    rig_->store<std::uint16_t>(available(queue) + 2, ++next.available);
  }

  /// Offers a buffer from descriptor `first` on, without telling.
  std::uint16_t add(unsigned queue, const std::vector<Buffer>& parts, unsigned first = 0) {
    for (unsigned i = 0; i < parts.size(); ++i) {
      const bool last = i + 1 == parts.size();
      descriptor(queue, first + i,
                 {parts[i].address, parts[i].length,
                  static_cast<std::uint16_t>((parts[i].writable ? write_flag : 0) |
                                             (last ? 0 : next_flag)),
                  static_cast<std::uint16_t>(first + i + 1)});
    }
    offer(queue, static_cast<std::uint16_t>(first));
    return static_cast<std::uint16_t>(first);
  }

  void notify(unsigned queue) { rig_->write(0x50, queue); }

  /// Offers a buffer, tells, and waits until the device has done what it does at once.
  void submit(unsigned queue, const std::vector<Buffer>& parts, unsigned first = 0) {
    add(queue, parts, first);
    notify(queue);
    rig_->transport().drain();
  }

  /// What has come back since the last call.
  std::vector<Used> used(unsigned queue) {
    std::vector<Used> found;
    const auto end = rig_->load<std::uint16_t>(used_ring(queue) + 2);
    for (std::uint16_t& at = next_[queue].used; at != end; ++at)
      found.push_back(rig_->load<Used>(used_ring(queue) + 4 + sizeof(Used) * (at % queue_entries)));
    return found;
  }

 private:
  struct Next {
    std::uint16_t available = 0;
    std::uint16_t used = 0;
  };

  Rig* rig_;
  std::vector<Next> next_;
};

} // namespace slat::vmm::virtio
