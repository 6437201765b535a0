#include "mmu/zero_source.hpp"

#include "mmu/backing.hpp"

namespace slat::mmu {

FillResult ZeroSource::fill(Backing& backing, PageRun run) {
  auto populated = host::populate(reinterpret_cast<std::uintptr_t>(backing.host_view(run.first)),
                                  run.count << page_shift);
  if (populated) return FillResult::filled;
  if (populated.error().code == Errc::no_memory) return FillResult::no_memory;
  // EINVAL: the host is older than MADV_POPULATE_WRITE. EFAULT: it has no room in a tmpfs, say, and to
  // touch the page would be a SIGBUS. The file's own allocation works, or tells.
  auto allocated = host::allocate_pages(backing.fd(), run.first << page_shift,
                                        std::uint64_t(run.count) << page_shift);
  if (allocated) return FillResult::filled;
  return allocated.error().code == Errc::no_memory ? FillResult::no_memory : FillResult::failed;
}

} // namespace slat::mmu
