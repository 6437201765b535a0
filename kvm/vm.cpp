#include "kvm/vm.hpp"

#include "kvm/ioctl.hpp"

#include <cerrno>
#include <fmt/format.h>

namespace slat::kvm {

namespace {

constexpr std::uint64_t page_size = 4096;

constexpr std::size_t bitmap_words(std::uint64_t pages) {
  return static_cast<std::size_t>((pages + 63) / 64);
}

Result<void> done(std::string_view call, int rc) {
  if (rc < 0) return call_failed(call, -rc);
  return {};
}

tl::unexpected<Error> memslot_failed(const kvm_userspace_memory_region& r, int err) {
  const std::string what =
      fmt::format("memory slot {} at gpa {:#x}, {:#x} bytes", r.slot,
                  std::uint64_t{r.guest_phys_addr}, std::uint64_t{r.memory_size});
  switch (err) {
  case EEXIST:
    return fail(Errc::invalid_argument, err,
                fmt::format("{}: overlaps another slot; delete that one first", what));
  case EINVAL:
    return fail(Errc::invalid_argument, err,
                fmt::format("{}: refused; an existing slot keeps its size, address in the process "
                            "and read-only flag, and the host limits the address width",
                            what));
  case ENOMEM:
    return fail(
        Errc::limit_exceeded, err,
        fmt::format("{}: {}; free host memory or use a smaller slot", what, os_error_text(err)));
  default:
    return call_failed(what, err);
  }
}

} // namespace

Vm::Vm(Fd fd, Limits limits)
    : fd_(std::move(fd)), limits_(limits), slots_(std::make_unique<SlotTable>()) {}

int Vm::check_extension(int cap) const noexcept {
  const int rc = retry_ioctl(fd_, KVM_CHECK_EXTENSION, cap);
  return rc < 0 ? 0 : rc;
}

Result<void> Vm::set_tss_address(std::uint32_t gpa) {
  return done("KVM_SET_TSS_ADDR",
              retry_ioctl(fd_, KVM_SET_TSS_ADDR, static_cast<unsigned long>(gpa)));
}

Result<void> Vm::set_identity_map_address(std::uint64_t gpa) {
  return done("KVM_SET_IDENTITY_MAP_ADDR", retry_ioctl(fd_, KVM_SET_IDENTITY_MAP_ADDR, &gpa));
}

Result<void> Vm::create_irqchip() {
  return done("KVM_CREATE_IRQCHIP", retry_ioctl(fd_, KVM_CREATE_IRQCHIP, 0));
}

Result<void> Vm::create_pit() {
  // The speaker port reads back from the timer's channel 2: KVM emulates it beside the timer when
  // asked.
  kvm_pit_config config{};
  config.flags = KVM_PIT_SPEAKER_DUMMY;
  return done("KVM_CREATE_PIT2", retry_ioctl(fd_, KVM_CREATE_PIT2, &config));
}

Result<void> Vm::set_irq_line(std::uint32_t gsi, bool level) {
  kvm_irq_level line{};
  line.irq = gsi;
  line.level = level ? 1 : 0;
  return done("KVM_IRQ_LINE", retry_ioctl(fd_, KVM_IRQ_LINE, &line));
}

Result<void> Vm::add_irqfd(int event_fd, std::uint32_t gsi) {
  kvm_irqfd irqfd{};
  irqfd.fd = static_cast<__u32>(event_fd);
  irqfd.gsi = gsi;
  return done("KVM_IRQFD", retry_ioctl(fd_, KVM_IRQFD, &irqfd));
}

Result<void> Vm::set_memslot(std::uint32_t slot, std::uint64_t gpa, std::uint64_t size,
                             std::uint64_t hva, std::uint32_t flags) {
  if (slot >= limits_.max_memslots)
    return fail(Errc::limit_exceeded, 0,
                fmt::format("memory slot {}: this host has slots 0 to {}; use larger slots", slot,
                            limits_.max_memslots - 1));
  if ((gpa | size | hva) % page_size != 0 || size == 0)
    return fail(Errc::invalid_argument, 0,
                fmt::format("memory slot {}: gpa {:#x}, size {:#x} and hva {:#x} must be whole "
                            "4 KiB pages, and size not 0",
                            slot, gpa, size, hva));
  if (gpa + size < gpa || hva + size < hva)
    return fail(Errc::invalid_argument, 0,
                fmt::format("memory slot {}: gpa {:#x} or hva {:#x} plus size {:#x} passes the end "
                            "of the address space",
                            slot, gpa, hva, size));
  if ((flags & ~std::uint32_t{KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY}) != 0 ||
      ((flags & KVM_MEM_READONLY) != 0 && check_extension(KVM_CAP_READONLY_MEM) == 0))
    return fail(Errc::not_supported, 0,
                fmt::format("memory slot {}: flags {:#x} are not supported here", slot, flags));

  const kvm_userspace_memory_region region{slot, flags, gpa, size, hva};
  const std::lock_guard lock(slots_->mutex);
  const int rc = retry_ioctl(fd_, KVM_SET_USER_MEMORY_REGION, &region);
  if (rc < 0) return memslot_failed(region, -rc);
  slots_->pages[slot] = size / page_size;
  return {};
}

Result<void> Vm::delete_memslot(std::uint32_t slot) {
  const kvm_userspace_memory_region region{slot, 0, 0, 0, 0};
  const std::lock_guard lock(slots_->mutex);
  if (!slots_->pages.contains(slot))
    return fail(Errc::invalid_argument, 0,
                fmt::format("memory slot {}: there is no such slot", slot));
  const int rc = retry_ioctl(fd_, KVM_SET_USER_MEMORY_REGION, &region);
  if (rc < 0) return memslot_failed(region, -rc);
  slots_->pages.erase(slot);
  return {};
}

std::size_t Vm::dirty_log_words(std::uint32_t slot) const {
  const std::lock_guard lock(slots_->mutex);
  const auto found = slots_->pages.find(slot);
  return found == slots_->pages.end() ? 0 : bitmap_words(found->second);
}

Result<void> Vm::get_dirty_log(std::uint32_t slot, std::span<std::uint64_t> bitmap) {
  const std::lock_guard lock(slots_->mutex);
  const auto found = slots_->pages.find(slot);
  if (found == slots_->pages.end())
    return fail(Errc::invalid_argument, 0,
                fmt::format("memory slot {}: there is no such slot", slot));
  if (bitmap.size() < bitmap_words(found->second))
    return fail(Errc::invalid_argument, 0,
                fmt::format("dirty log of slot {}: {} words given, {} needed", slot, bitmap.size(),
                            bitmap_words(found->second)));
  kvm_dirty_log log{};
  log.slot = slot;
  log.dirty_bitmap = bitmap.data();
  const int rc = retry_ioctl(fd_, KVM_GET_DIRTY_LOG, &log);
  if (rc == -ENOENT)
    return fail(Errc::invalid_argument, -rc,
                fmt::format("dirty log of slot {}: the slot has no log; set it with "
                            "KVM_MEM_LOG_DIRTY_PAGES",
                            slot));
  return done("KVM_GET_DIRTY_LOG", rc);
}

Result<Vcpu> Vm::create_vcpu(unsigned id) {
  if (id >= limits_.max_vcpu_ids)
    return fail(Errc::limit_exceeded, 0,
                fmt::format("vCPU {}: this host has ids 0 to {}", id, limits_.max_vcpu_ids - 1));
  const int rc = retry_ioctl(fd_, KVM_CREATE_VCPU, static_cast<unsigned long>(id));
  if (rc == -EEXIST)
    return fail(Errc::invalid_argument, -rc, fmt::format("vCPU {}: the id is taken", id));
  if (rc == -EINVAL || rc == -ENOMEM)
    return fail(Errc::limit_exceeded, -rc,
                fmt::format("vCPU {}: {}; this host allows {} vCPUs in a VM", id,
                            os_error_text(-rc), limits_.max_vcpus));
  if (rc < 0) return call_failed("KVM_CREATE_VCPU", -rc);
  return Vcpu::adopt(Fd(rc), id, limits_.vcpu_mmap_size);
}

Result<std::uint32_t> Vm::tsc_khz() const {
  if (check_extension(KVM_CAP_VM_TSC_CONTROL) == 0)
    return fail(Errc::not_supported, 0,
                "KVM_GET_TSC_KHZ: this kernel tells it of a vCPU only; use Vcpu::tsc_khz()");
  const int rc = retry_ioctl(fd_, KVM_GET_TSC_KHZ, 0);
  if (rc < 0) return call_failed("KVM_GET_TSC_KHZ", -rc);
  return static_cast<std::uint32_t>(rc);
}

} // namespace slat::kvm
