#include "mmu/backing.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

namespace slat::mmu {

Result<Backing*> Backing::create(const std::string& name, std::uint64_t bytes,
                                 std::unique_ptr<PageSource> source) {
  if (bytes == 0 || bytes % page_size != 0)
    return fail(Errc::invalid_argument, 0,
                fmt::format("{}: a size of {} bytes is not a positive multiple of {}", name, bytes,
                            page_size));
  BackingRef backing(new Backing);
  backing->pages_ = bytes >> page_shift;
  backing->source_ = std::move(source);
  auto fd = host::create_memfd(name, bytes);
  if (!fd) return forward(fd);
  backing->fd_ = *fd;
  auto view = host::map_shared(0, bytes, PROT_READ | PROT_WRITE, *fd, 0);
  if (!view) return forward(view);
  backing->host_view_ = reinterpret_cast<std::byte*>(*view);
  // Fresh anonymous memory is zero, and an all-zero page word is an empty page: nothing to
  // construct, and words of pages that nobody touches cost nothing.
  void* const words = mmap(nullptr, backing->pages_ * sizeof(PageWord), PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (words == MAP_FAILED)
    return fail(Errc::no_memory, ENOMEM,
                fmt::format("{}: no memory for {} page words", name, backing->pages_));
  backing->words_ = static_cast<PageWord*>(words);
  return backing.release();
}

void Backing::put() {
  // Release and acquire: every user's accesses happen before the destruction.
  if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

void Backing::put_after(Srcu& srcu) {
  if (references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return; // see put()
  retire_.backing = this;
  srcu.call(retire_, [](DeferredCall* call) { delete static_cast<Retire*>(call)->backing; });
}

Backing::~Backing() {
  if (words_ != nullptr) munmap(words_, pages_ * sizeof(PageWord));
  if (host_view_ != nullptr) munmap(host_view_, pages_ << page_shift);
  if (fd_ >= 0) close(fd_);
}

} // namespace slat::mmu
