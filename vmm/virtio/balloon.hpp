// Balloon: memory that the guest gives up, on request or because it has it free. After virtio 1.2, section 5.5.
#pragma once

#include "mmu/thread_safety.hpp"
#include "vmm/balloon_control.hpp"
#include "vmm/virtio/device.hpp"

#include <atomic>
#include <optional>

namespace slat::vmm::virtio {

struct BalloonOptions {
  std::uint64_t target = 0; // bytes, page aligned, at most the RAM
  bool deflate_on_oom = true;
  bool free_page_reporting = true;
};

/// Pages that come in are given back to the host at once (GuestRam::discard()): they read as zero when the guest uses
/// them again, for which it need not ask.
class Balloon final : public Device, public BalloonControl {
 public:
  /// `ram_bytes`: of the guest.
  Balloon(const BalloonOptions& options, std::uint64_t ram_bytes)
      : options_(options), ram_bytes_(ram_bytes), target_(options.target) {}

  [[nodiscard]] DeviceType type() const override { return DeviceType::balloon; }

  [[nodiscard]] std::string_view name() const override { return "balloon"; }

  [[nodiscard]] unsigned queues() const override { return options_.free_page_reporting ? 4 : 3; }

  [[nodiscard]] std::uint64_t features() const override;
  void read_config(std::uint64_t offset, std::span<std::byte> data) const override;
  void write_config(std::uint64_t offset, std::span<const std::byte> data) override;

  void attach(DeviceHost& host) override { host_ = &host; }

  void activate(std::uint64_t features) override;
  void reset() override;
  Result<void> process(unsigned index, Queue& queue, GuestRam& ram) override;

  Result<void> set_target(std::uint64_t bytes) override;
  [[nodiscard]] State state() const override;
  [[nodiscard]] Statistics statistics() override SLAT_EXCLUDES(mutex_);

 private:
  Result<std::uint32_t> inflate(const Chain& chain, GuestRam& ram);
  Result<std::uint32_t> report(const Chain& chain, GuestRam& ram);
  Result<void> take_statistics(Queue& queue, GuestRam& ram) SLAT_EXCLUDES(mutex_);

  const BalloonOptions options_;
  const std::uint64_t ram_bytes_;
  DeviceHost* host_ = nullptr;
  std::atomic<std::uint64_t> target_;    // bytes
  std::atomic<std::uint32_t> actual_{0}; // pages
  std::atomic<std::uint64_t> inflated_{0};
  std::atomic<std::uint64_t> reported_{0};
  // Queues follow each other without gaps: which these are, the features decide. Constant while the device is active.
  bool has_statistics_ = false;
  std::optional<unsigned> reporting_queue_;

  mmu::Mutex mutex_; // a leaf
  std::optional<std::uint16_t>
      held_ SLAT_GUARDED_BY(mutex_);            // the guest's buffer for statistics, to ask with
  bool wanted_ SLAT_GUARDED_BY(mutex_) = false; // newer statistics
  bool active_ SLAT_GUARDED_BY(mutex_) = false; // and has a queue for them
  Statistics statistics_ SLAT_GUARDED_BY(mutex_);
};

} // namespace slat::vmm::virtio
