#include "vmm/guest_ram.hpp"

#include "mmu/zero_source.hpp"
#include "vmm/layout.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace slat::vmm {

namespace {

constexpr std::size_t huge_page = 2 * mib;

tl::unexpected<Error> host_error(const mmu::Error& error, std::string_view doing) {
  const Errc code = error.code == mmu::Errc::no_memory ? Errc::host_limit : Errc::host_failed;
  return fail(code, error.os_error, fmt::format("{}: {}", doing, error.message));
}

} // namespace

Result<std::unique_ptr<GuestRam>> GuestRam::create(std::uint64_t size,
                                                   const mmu::AddressSpaceOptions& options,
                                                   mmu::Counters& counters) {
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
  for (const GpaRange& range : ram->ranges_) {
    auto backing = mmu::Backing::create(fmt::format("slat-ram-{:x}", range.start), range.size,
                                        std::make_unique<mmu::ZeroSource>());
    if (!backing) return host_error(backing.error(), "guest memory");
    mmu::BackingRef reference(*backing);
    auto view = ram->mm_->map({.length = range.size, .backing = *backing, .alignment = huge_page});
    if (!view) return host_error(view.error(), "guest memory");
    ram->regions_.push_back({range, *view, std::move(reference)});
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

template <class Access>
Result<void> GuestRam::each_region(Gpa address, std::size_t length, Access access) {
  if (!contains(ranges_, address, length))
    return fail(Errc::out_of_guest_memory, 0,
                fmt::format("[{:#x}, +{:#x}) is not all guest RAM", address, length));
  std::size_t done = 0;
  while (done < length) {
    const Region& region = *region_of(address + done);
    const std::uint64_t offset = address + done - region.gpa.start;
    const std::size_t count = std::min<std::uint64_t>(length - done, region.gpa.size - offset);
    const auto copied = access(region.guest_view + offset, done, count);
    if (!copied.result)
      return fail(copied.result.error().code == mmu::Errc::no_memory ? Errc::host_limit
                                                                     : Errc::host_failed,
                  copied.result.error().os_error,
                  fmt::format("guest memory at {:#x} cannot be accessed: {}",
                              address + done + copied.bytes, copied.result.error().message));
    done += count;
  }
  return {};
}

Result<void> GuestRam::write(Gpa address, std::span<const std::byte> bytes) {
  return each_region(address, bytes.size(),
                     [&](std::uintptr_t where, std::size_t at, std::size_t count) {
                       return translations_->write(where, bytes.subspan(at, count));
                     });
}

Result<void> GuestRam::read(Gpa address, std::span<std::byte> bytes) {
  return each_region(address, bytes.size(),
                     [&](std::uintptr_t where, std::size_t at, std::size_t count) {
                       return translations_->read(where, bytes.subspan(at, count));
                     });
}

} // namespace slat::vmm
