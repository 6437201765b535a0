#include "vmm/soft_memory.hpp"

#include "vmm/patience.hpp"

#include <chrono>
#include <fmt/format.h>
#include <thread>

namespace slat::vmm {

namespace {

std::uint64_t now_ns() {
  return std::uint64_t(std::chrono::steady_clock::now().time_since_epoch() /
                       std::chrono::nanoseconds(1));
}

tl::unexpected<Error> stage2_error(const mmu::Error& error) {
  const Errc code = error.code == mmu::Errc::no_memory ? Errc::host_limit : Errc::host_failed;
  return fail(code, error.os_error, fmt::format("stage-2 tables: {}", error.message));
}

} // namespace

Result<std::unique_ptr<SoftMemory>> SoftMemory::create(GuestRam& ram, std::uint32_t around) {
  std::unique_ptr<SoftMemory> memory(new SoftMemory(ram, around));
  std::vector<mmu::stage2::Stage2Slot> slots;
  std::uint64_t limit = 0;
  for (const GuestRam::Region& region : ram.regions()) {
    slots.push_back({region.gpa.start, region.guest_view, region.guest_view + region.gpa.size});
    limit = std::max(limit, region.gpa.start + region.gpa.size);
  }
  auto table = Table::create({.limit = limit}, memory->flusher_);
  if (!table) return stage2_error(table.error());
  memory->table_ = std::move(*table);
  mmu::NotifierChain& notifiers = ram.mm().notifiers();
  memory->mmu_ = std::make_unique<mmu::stage2::Stage2Mmu<mmu::stage2::EptFormat>>(
      *memory->table_, notifiers.sequence(), slots);
  if (auto ok = notifiers.register_notifier(*memory->mmu_); !ok) return stage2_error(ok.error());
  memory->registered_ = true;
  ram.mm().set_populate_mmu(*memory->mmu_);
  return memory;
}

SoftMemory::~SoftMemory() {
  if (!registered_) return;
  ram_->mm().clear_populate_mmu();
  ram_->mm().notifiers().unregister_notifier(*mmu_);
}

SoftMemory::VcpuView& SoftMemory::add_view() {
  views_.push_back(std::unique_ptr<VcpuView>(new VcpuView(*this)));
  return *views_.back();
}

std::uint64_t SoftMemory::fault_count() const {
  std::uint64_t sum = 0;
  for (const auto& view : views_) sum += view->faults_.load(std::memory_order_relaxed); // a sum
  return sum;
}

mmu::Histogram SoftMemory::fault_latency_ns() const {
  mmu::Histogram sum;
  for (const auto& view : views_) sum.add(view->latency_ns_);
  return sum;
}

softcpu::GuestPhysical::Page SoftMemory::VcpuView::translate(std::uint64_t gpa,
                                                             softcpu::Access access) {
  const auto found = memory_->table_->access(gpa, access == softcpu::Access::write);
  if (found) [[likely]]
    return {Kind::memory, reinterpret_cast<std::byte*>(found->host)};
  const auto address = memory_->ram_->guest_view_of(gpa);
  if (!address) return {Kind::device, nullptr};
  absent_gpa_ = gpa;
  absent_address_ = *address;
  return {Kind::absent, nullptr};
}

namespace {

/// Out of the way of faults without a delay.
[[gnu::cold, gnu::noinline]] void sleep_for(std::chrono::microseconds delay) {
  std::this_thread::sleep_for(delay);
}

} // namespace

mmu::FaultResult SoftMemory::VcpuView::fault(std::uint64_t gpa, softcpu::Access access) {
  // Written by this thread alone.
  faults_.store(faults_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  const bool timed = --until_timed_ == 0;
  const std::uint64_t start = timed ? now_ns() : 0;
  if (const auto delay = memory_->delay_.load(std::memory_order_relaxed); // see set_delay()
      delay.count() != 0) [[unlikely]]
    sleep_for(delay);
  SLAT_ASSERT(gpa == absent_gpa_, "a fault on a page that was not found absent");
  const std::uintptr_t address = absent_address_;
  const FaultWindow window = stream_.window(memory_->around_, address);
  const mmu::FaultOutcome outcome = handle_fault_patiently(
      memory_->ram_->mm(),
      {.address = address,
       .access = access == softcpu::Access::write ? mmu::vm_write : mmu::vm_read,
       .mmu = memory_->mmu_.get(),
       .around_start = window.start,
       .around_end = window.end});
  if (timed) {
    latency_ns_.record(now_ns() - start);
    until_timed_ = faults_per_timing;
  }
  return outcome.result;
}

} // namespace slat::vmm
