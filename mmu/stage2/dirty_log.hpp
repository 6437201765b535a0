// The dirty log: a bit per 4 KiB page of guest memory, set by whoever takes dirtiness out of the table.
#pragma once

#include "mmu/alloc.hpp"
#include "mmu/error.hpp"

#include <algorithm>
#include <cstdint>
#include <memory>

namespace slat::mmu::stage2 {

template <class A> class DirtyLog {
 public:
  using Word = typename A::template atomic<std::uint64_t>;
  static constexpr std::uint64_t pages_per_word = 64;

  DirtyLog() = default;
  DirtyLog(const DirtyLog&) = delete;
  DirtyLog& operator=(const DirtyLog&) = delete;

  ~DirtyLog() {
    if (words_ != nullptr) deallocate(words_);
  }

  /// For `pages` pages. Once. May sleep.
  Result<void> reserve(std::uint64_t pages) {
    const std::uint64_t count = (pages + pages_per_word - 1) / pages_per_word;
    void* const memory = allocate(count * sizeof(Word), 64);
    if (memory == nullptr)
      return fail(Errc::no_memory, 0, "no memory for the dirty log of a stage-2 table");
    words_ = static_cast<Word*>(memory);
    std::uninitialized_value_construct_n(words_, count);
    count_ = count;
    return {};
  }

  /// Notes pages [first, first + count), as far as the log goes. Any lock, never sleeps. Relaxed: the
  /// release of the CAS that drops the dirty entry comes after it (protocol.hpp).
  void note(std::uint64_t first, std::uint64_t count) {
    const std::uint64_t end = std::min(first + count, count_ * pages_per_word);
    while (first < end) {
      const std::uint64_t bit = first % pages_per_word;
      const std::uint64_t here = std::min(pages_per_word - bit, end - first);
      const std::uint64_t mask = (~std::uint64_t(0) >> (pages_per_word - here)) << bit;
      Word& word = words_[first / pages_per_word];
      if ((word.load(std::memory_order_relaxed) & mask) != mask)
        word.fetch_or(mask, std::memory_order_relaxed);
      first += here;
    }
  }

  /// The bits of word `index`, which are clear from now on. Acquire costs nothing and orders nothing
  /// that the entries' loads have not ordered already.
  [[nodiscard]] std::uint64_t take(std::uint64_t index) {
    if (words_[index].load(std::memory_order_relaxed) == 0) return 0;
    return words_[index].exchange(0, std::memory_order_acquire);
  }

  [[nodiscard]] std::uint64_t words() const { return count_; }

 private:
  Word* words_ = nullptr;
  std::uint64_t count_ = 0;
};

} // namespace slat::mmu::stage2
