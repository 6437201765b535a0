#include "mmu/backing.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

namespace slat::mmu {

namespace {

/// Fresh anonymous memory is zero, and an all-zero page word is an empty page: nothing to construct,
/// and words of pages that nobody touches cost nothing.
Result<void*> zeroes(const std::string& name, std::size_t bytes) {
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    return fail(Errc::no_memory, ENOMEM,
                fmt::format("{}: no memory for {} bytes of page words", name, bytes));
  return memory;
}

std::size_t bitmap_words(std::uint64_t pages) {
  return std::size_t((pages + 63) / 64);
}

/// True as soon as `visit(word, bits)` is for one of the words of a bitmap that a run covers.
template <class Visit> bool any_word(std::uint64_t* bitmap, PageRun run, Visit visit) {
  const std::uint64_t end = run.first + run.count;
  for (std::uint64_t page = run.first; page < end;) {
    const std::uint64_t bit = page % 64;
    const std::uint64_t count = std::min<std::uint64_t>(64 - bit, end - page);
    const std::uint64_t bits = (~std::uint64_t(0) >> (64 - count)) << bit;
    if (visit(bitmap[page / 64], bits)) return true;
    page += count;
  }
  return false;
}

} // namespace

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
  auto words = zeroes(name, backing->pages_ * sizeof(PageWord));
  if (!words) return forward(words);
  backing->words_ = static_cast<PageWord*>(*words);
  auto mapped = zeroes(name, bitmap_words(backing->pages_) * sizeof(std::uint64_t));
  if (!mapped) return forward(mapped);
  {
    MutexGuard guard(backing->mapped_mutex_);
    backing->mapped_ = static_cast<std::uint64_t*>(*mapped);
  }
  return backing.release();
}

Result<void> Backing::reserve_pages(PageRun run) {
  MutexGuard guard(mapped_mutex_);
  if (any_word(mapped_, run,
               [](std::uint64_t& word, std::uint64_t bits) { return (word & bits) != 0; }))
    return fail(
        Errc::exists, 0,
        fmt::format("a page of [{}, +{}) of the backing is mapped already", run.first, run.count));
  (void)any_word(mapped_, run, [](std::uint64_t& word, std::uint64_t bits) {
    word |= bits;
    return false;
  });
  return {};
}

void Backing::unreserve_pages(PageRun run) {
  MutexGuard guard(mapped_mutex_);
  (void)any_word(mapped_, run, [](std::uint64_t& word, std::uint64_t bits) {
    SLAT_ASSERT((word & bits) == bits, "a page is unmapped that was not mapped");
    word &= ~bits;
    return false;
  });
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
  if (mapped_ != nullptr) munmap(mapped_, bitmap_words(pages_) * sizeof(std::uint64_t));
  if (words_ != nullptr) munmap(words_, pages_ * sizeof(PageWord));
  if (host_view_ != nullptr) munmap(host_view_, pages_ << page_shift);
  if (fd_ >= 0) close(fd_);
}

} // namespace slat::mmu
