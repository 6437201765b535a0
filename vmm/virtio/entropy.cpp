#include "vmm/virtio/entropy.hpp"

#include "vmm/virtio/segments.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <sys/random.h>

namespace slat::vmm::virtio {

void Entropy::read_config(std::uint64_t, std::span<std::byte> data) const {
  std::ranges::fill(data, std::byte{0}); // there is none
}

Result<void> Entropy::process(unsigned, Queue& queue, GuestRam& ram) {
  return serve(queue, *host_, [&](const Chain& chain) -> Result<std::uint32_t> {
    SegmentCursor out(ram, chain.writable);
    const auto want = static_cast<std::uint32_t>(std::min<std::uint64_t>(out.left(), max_bytes));
    auto ok =
        out.each(want, mmu::vm_write, [](std::span<std::byte> bytes, std::size_t) -> Result<void> {
          while (!bytes.empty()) {
            const ssize_t count = getrandom(bytes.data(), bytes.size(), 0);
            if (count < 0 && errno != EINTR)
              return fail(Errc::host_failed, errno,
                          fmt::format("getrandom: {}", std::strerror(errno)));
            if (count > 0) bytes = bytes.subspan(static_cast<std::size_t>(count));
          }
          return {};
        });
    if (!ok) return forward(ok);
    return want;
  });
}

} // namespace slat::vmm::virtio
