#include "vmm/guest_ram.hpp"

#include "mmu/shared_copy.hpp"
#include "mmu/zero_source.hpp"
#include "vmm/layout.hpp"
#include "vmm/patience.hpp"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <thread>

namespace slat::vmm {

namespace {

constexpr std::size_t huge_page = 2 * mib;

tl::unexpected<Error> host_error(const mmu::Error& error, std::string_view doing) {
  const Errc code = error.code == mmu::Errc::no_memory ? Errc::host_limit : Errc::host_failed;
  return fail(code, error.os_error, fmt::format("{}: {}", doing, error.message));
}

Errc pin_errc(mmu::Errc code) {
  switch (code) {
  case mmu::Errc::no_memory:
    return Errc::host_limit;
  case mmu::Errc::access_denied:
    return Errc::read_only;
  default:
    return Errc::host_failed;
  }
}

std::vector<GpaRange> split(std::span<const GpaRange> ranges, std::uint64_t most) {
  std::vector<GpaRange> parts;
  for (const GpaRange& range : ranges)
    for (std::uint64_t done = 0; done < range.size;) {
      const std::uint64_t size = most == 0 ? range.size : std::min(most, range.size - done);
      parts.push_back({range.start + done, size});
      done += size;
    }
  return parts;
}

} // namespace

Result<std::unique_ptr<GuestRam>>
GuestRam::create(std::uint64_t size, const mmu::AddressSpaceOptions& options,
                 mmu::Counters& counters, std::uint64_t region_bytes, std::uint64_t spare_bytes) {
  if (auto ok = check_ram_size(size); !ok) return forward(ok);
  std::unique_ptr<GuestRam> ram(new GuestRam);
  auto mm = mmu::AddressSpace::create(options, counters);
  if (!mm) return host_error(mm.error(), "guest memory");
  ram->mm_ = std::move(*mm);
  auto translations = std::make_unique<mmu::TranslationCache>(*ram->mm_);
  if (auto registered = ram->mm_->notifiers().register_notifier(*translations); !registered)
    return host_error(registered.error(), "guest memory");
  ram->translations_ = std::move(translations);
  ram->size_ = size;
  ram->ranges_ = ram_layout(size);
  for (const GpaRange& range : split(ram->ranges_, region_bytes)) {
    auto backing =
        mmu::Backing::create(fmt::format("slat-ram-{:x}", range.start), range.size + spare_bytes,
                             std::make_unique<mmu::ZeroSource>());
    if (!backing) return host_error(backing.error(), "guest memory");
    mmu::BackingRef reference(*backing);
    auto view = ram->mm_->map({.length = range.size, .backing = *backing, .alignment = huge_page});
    if (!view) return host_error(view.error(), "guest memory");
    ram->regions_.push_back({range, ViewAddress(*view), std::move(reference)});
  }
  return ram;
}

GuestRam::~GuestRam() {
  if (translations_ != nullptr) mm_->notifiers().unregister_notifier(*translations_);
}

CompressedStore& GuestRam::make_store(std::uint64_t limit) {
  if (store_ == nullptr) {
    store_ = std::make_unique<CompressedStore>(
        CompressedStore::Options{.limit = limit != 0 ? limit : size_ / 4});
    for (const Region& region : regions_) region.backing->set_store(*store_);
  }
  return *store_;
}

const GuestRam::Region* GuestRam::region_of(Gpa address) const {
  for (const Region& region : regions_)
    if (address >= region.gpa.start && address - region.gpa.start < region.gpa.size) return &region;
  return nullptr;
}

std::optional<std::uintptr_t> GuestRam::guest_view_of(Gpa address) const {
  const Region* const region = region_of(address);
  if (region == nullptr) return std::nullopt;
  return region->guest_view + (address - region->gpa.start);
}

Result<mmu::TranslationCache::Pin> GuestRam::pin(Gpa address, std::size_t length,
                                                 std::uint32_t access) {
  if (!contains(ranges_, address, length))
    return fail(Errc::out_of_guest_memory, 0,
                fmt::format("[{:#x}, +{:#x}) is not all guest RAM", address, length));
  const Region& region = *region_of(address);
  const std::uint64_t offset = address - region.gpa.start;
  const std::uint64_t count = std::min<std::uint64_t>(length, region.gpa.size - offset);
  Patience patience(*mm_);
  for (;;) {
    const std::uint32_t moves = moves_.load(std::memory_order_acquire); // pairs with move_view()
    const std::uintptr_t view = region.guest_view;
    auto pin = translations_->pin(view + offset, count, access);
    // A view does not move while it is pinned. So the region that the pin holds is this one if its view is still there;
    // another one can have come to its place only later.
    if (pin && region.guest_view == view) return std::move(*pin);
    if (!pin && pin.error().code == mmu::Errc::no_memory && patience.wait()) continue;
    if (!pin && moves % 2 == 0 && moves_.load(std::memory_order_acquire) == moves)
      return fail(pin_errc(pin.error().code), pin.error().os_error,
                  fmt::format("guest memory at {:#x} cannot be accessed: {}", address,
                              pin.error().message));
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}

Result<void> GuestRam::set_read_only(const GpaRange& range, bool read_only) {
  const Region& region = *region_of(range.start);
  SLAT_ASSERT(range.start + range.size <= region.gpa.start + region.gpa.size, "not in one region");
  if (read_only) read_only_.take();
  auto done = mm_->protect(region.guest_view + (range.start - region.gpa.start), range.size,
                           read_only ? mmu::vm_read : mmu::vm_read | mmu::vm_write);
  if (!read_only || !done) read_only_.give_back();
  if (!done) return host_error(done.error(), "guest memory cannot be protected");
  return {};
}

Result<void> GuestRam::discard(const GpaRange& range) {
  if (!contains(ranges_, range.start, range.size))
    return fail(Errc::out_of_guest_memory, 0,
                fmt::format("[{:#x}, +{:#x}) is not all guest RAM", range.start, range.size));
  mmu::MutexGuard guard(views_);
  for (std::uint64_t done = 0; done < range.size;) {
    const Region& region = *region_of(range.start + done);
    const std::uint64_t offset = range.start + done - region.gpa.start;
    const std::uint64_t size = std::min(range.size - done, region.gpa.size - offset);
    auto removed = mm_->advise(region.guest_view + offset, size, mmu::Advice::remove);
    if (!removed) return host_error(removed.error(), "guest memory cannot be given back");
    done += size;
  }
  return {};
}

Result<void> GuestRam::migrate(const GpaRange& range, std::uint64_t place) {
  const Region& region = *region_of(range.start);
  SLAT_ASSERT(range.start + range.size <= region.gpa.start + region.gpa.size, "not in one region");
  auto done = mm_->migrate({.address = region.guest_view + (range.start - region.gpa.start),
                            .length = range.size,
                            .pgoff = place});
  if (!done) return host_error(done.error(), "guest memory cannot migrate");
  return {};
}

bool GuestRam::is_in_guest_view(std::uintptr_t address) const {
  return std::ranges::any_of(regions_, [&](const Region& region) {
    return address - region.guest_view < region.gpa.size;
  });
}

Result<void> GuestRam::move_view(std::size_t index) {
  Region& region = regions_[index];
  mmu::MutexGuard guard(views_);
  moves_.fetch_add(1,
                   std::memory_order_acq_rel); // pairs with pin(): it is odd before anything moves
  auto moved = mm_->move({.address = region.guest_view,
                          .old_length = region.gpa.size,
                          .new_length = region.gpa.size,
                          .elsewhere = true,
                          .alignment = huge_page});
  if (moved) region.guest_view.address_.store(*moved, std::memory_order_release); // see pin()
  moves_.fetch_add(1, std::memory_order_release); // pairs with pin()
  if (!moved) return host_error(moved.error(), "guest memory cannot be moved");
  return {};
}

template <class Copy>
Result<void> GuestRam::each_pin(Gpa address, std::size_t length, std::uint32_t access, Copy copy) {
  if (!contains(ranges_, address, length)) // all or nothing
    return fail(Errc::out_of_guest_memory, 0,
                fmt::format("[{:#x}, +{:#x}) is not all guest RAM", address, length));
  for (std::size_t done = 0; done < length;) {
    auto here = pin(address + done, length - done, access);
    if (!here) return forward(here);
    copy(here->bytes(), done);
    done += here->bytes().size();
  }
  return {};
}

Result<void> GuestRam::write(Gpa address, std::span<const std::byte> bytes) {
  for (;;) {
    const std::uint64_t before = read_only_.before();
    auto ok = write_at_once(address, bytes); // writing the same bytes twice does no harm
    if (ok || ok.error().code != Errc::read_only || !read_only_.wait(before)) return ok;
  }
}

Result<void> GuestRam::write_at_once(Gpa address, std::span<const std::byte> bytes) {
  return each_pin(address, bytes.size(), mmu::vm_write,
                  [&](std::span<std::byte> page, std::size_t at) {
                    mmu::copy_to_shared(page.data(), bytes.subspan(at, page.size()));
                  });
}

Result<void> GuestRam::read(Gpa address, std::span<std::byte> bytes) {
  return each_pin(address, bytes.size(), mmu::vm_read,
                  [&](std::span<std::byte> page, std::size_t at) {
                    mmu::copy_from_shared(bytes.subspan(at, page.size()), page.data());
                  });
}

} // namespace slat::vmm
