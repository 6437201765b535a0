#include "mmu/backing.hpp"

#include "mmu/file_source.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <new>
#include <sys/mman.h>
#include <sys/stat.h>
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
  BackingRef backing(new (std::nothrow) Backing);
  if (!backing) return fail(Errc::no_memory, ENOMEM, fmt::format("{}: no memory", name));
  backing->pages_ = bytes >> page_shift;
  backing->source_ = std::move(source);
  auto fd = host::create_memfd(name, bytes);
  if (!fd) return forward(fd);
  backing->fd_ = *fd;
  if (auto mapped = backing->map_in(name); !mapped) return forward(mapped);
  return backing.release();
}

Result<Backing*> Backing::create_shared(const std::string& name, int fd) {
  BackingRef backing(new (std::nothrow) Backing);
  if (!backing) {
    close(fd);
    return fail(Errc::no_memory, ENOMEM, fmt::format("{}: no memory", name));
  }
  backing->fd_ = fd;
  backing->keeps_data_ = true;
  struct stat status{};
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size <= 0)
    return fail(Errc::invalid_argument, 0,
                fmt::format("{}: guest memory is a regular file that is not empty", name));
  backing->pages_ = (std::uint64_t(status.st_size) + page_size - 1) >> page_shift;
  const bool in_memory = fcntl(fd, F_GET_SEALS) >= 0; // a memfd or in a tmpfs
  backing->source_.reset(new (std::nothrow) SharedSource(in_memory));
  if (!backing->source_) return fail(Errc::no_memory, ENOMEM, fmt::format("{}: no memory", name));
  if (auto mapped = backing->map_in(name); !mapped) return forward(mapped);
  return backing.release();
}

Result<void> Backing::map_in(const std::string& name) {
  // Aligned as guest views are, so that a huge page is one in both.
  constexpr std::size_t huge_page = std::size_t(2) << 20;
  const std::size_t length = pages_ << page_shift;
  auto view = host::map_shared(0, length, PROT_READ | PROT_WRITE, fd_, 0,
                               length >= huge_page ? huge_page : page_size);
  if (!view) return forward(view);
  host_view_ = reinterpret_cast<std::byte*>(*view);
  auto words = zeroes(name, pages_ * sizeof(PageWord));
  if (!words) return forward(words);
  words_ = static_cast<PageWord*>(*words);
  auto mapped = zeroes(name, bitmap_words(pages_) * sizeof(std::uint64_t));
  if (!mapped) return forward(mapped);
  MutexGuard guard(mapped_mutex_);
  mapped_ = static_cast<std::uint64_t*>(*mapped);
  return {};
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
  // What is still reclaimed: a page that was unmapped or removed has given its slot back then.
  if (store_ != nullptr && words_ != nullptr)
    for (std::uint64_t page = 0; page < pages_; ++page)
      if (const PageBits bits = words_[page].read(); bits.state() == PageState::reclaimed)
        store_->drop(bits.slot());
  if (mapped_ != nullptr) munmap(mapped_, bitmap_words(pages_) * sizeof(std::uint64_t));
  if (words_ != nullptr) munmap(words_, pages_ * sizeof(PageWord));
  if (host_view_ != nullptr) munmap(host_view_, pages_ << page_shift);
  if (fd_ >= 0) close(fd_);
}

} // namespace slat::mmu
