#include "mmu/zero_source.hpp"

#include "mmu/backing.hpp"

namespace slat::mmu {

FillResult ZeroSource::fill(Backing& backing, PageRun run) {
  auto populated = host::populate(reinterpret_cast<std::uintptr_t>(backing.host_view(run.first)),
                                  run.count << page_shift);
  if (populated) return FillResult::filled;
  return populated.error().code == Errc::no_memory ? FillResult::no_memory : FillResult::failed;
}

} // namespace slat::mmu
