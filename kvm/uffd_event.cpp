#include "kvm/uffd_event.hpp"

namespace slat::kvm {

UffdEvent decode_event(const uffd_msg& message) noexcept {
  switch (message.event) {
  case UFFD_EVENT_PAGEFAULT: {
    const auto& fault = message.arg.pagefault;
    return FaultEvent{fault.address, (fault.flags & UFFD_PAGEFAULT_FLAG_WRITE) != 0,
                      (fault.flags & UFFD_PAGEFAULT_FLAG_MINOR) != 0,
                      (fault.flags & UFFD_PAGEFAULT_FLAG_WP) != 0, fault.feat.ptid};
  }
  case UFFD_EVENT_REMOVE:
    return RemoveEvent{message.arg.remove.start, message.arg.remove.end};
  case UFFD_EVENT_UNMAP:
    return UnmapEvent{message.arg.remove.start, message.arg.remove.end};
  case UFFD_EVENT_REMAP:
    return RemapEvent{message.arg.remap.from, message.arg.remap.to, message.arg.remap.len};
  default:
    return UnknownEvent{message.event};
  }
}

} // namespace slat::kvm
