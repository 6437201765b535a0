#include "uffd_memory.hpp"

#include <poll.h>
#include <stdexcept>
#include <sys/mman.h>

namespace slat::kvm {

TwoViews::TwoViews(std::uint64_t page_count)
    : pages(page_count), file(::memfd_create("two-views", MFD_CLOEXEC)) {
  if (::ftruncate(file.get(), static_cast<off_t>(pages * page)) != 0)
    throw std::runtime_error("no memfd");
  host = Mapping(file.get(), pages * page);
  guarded = Mapping(file.get(), pages * page);
}

std::atomic_ref<std::uint8_t> TwoViews::guarded_byte(std::uint64_t index) const {
  return std::atomic_ref(static_cast<std::uint8_t*>(guarded.data())[index * page]);
}

std::atomic_ref<std::uint8_t> TwoViews::host_byte(std::uint64_t index) const {
  return std::atomic_ref(static_cast<std::uint8_t*>(host.data())[index * page]);
}

std::optional<FaultEvent> next_fault(Userfaultfd& uffd) {
  pollfd ready{uffd.fd(), POLLIN, 0};
  ::poll(&ready, 1, 10'000);
  uffd_msg message;
  if (uffd.read_events({&message, 1}).value() == 0) return std::nullopt;
  const UffdEvent event = decode_event(message);
  const auto* fault = std::get_if<FaultEvent>(&event);
  return fault == nullptr ? std::nullopt : std::optional(*fault);
}

bool stays_quiet(Userfaultfd& uffd) {
  pollfd ready{uffd.fd(), POLLIN, 0};
  return ::poll(&ready, 1, 20) == 0;
}

} // namespace slat::kvm
