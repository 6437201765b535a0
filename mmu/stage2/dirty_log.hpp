// The dirty log: a bit per 4 KiB page of guest memory, set by whoever takes dirtiness out of the table.
//
// In two halves, one of which is current; why is in protocol.hpp. A reader lets all who note into the
// current half finish, which means that they have flushed, by making the other one current.
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
    void* const memory = allocate(2 * count * sizeof(Word), 64);
    if (memory == nullptr)
      return fail(Errc::no_memory, 0, "no memory for the dirty log of a stage-2 table");
    words_ = static_cast<Word*>(memory);
    std::uninitialized_value_construct_n(words_, 2 * count);
    count_ = count;
    return {};
  }

  /// Where to note. Acquire: pairs with flip(); in an SRCU section that flip()'s caller waits for, or
  /// under the mutex that it holds.
  [[nodiscard]] unsigned current() const { return current_.load(std::memory_order_acquire); }

  /// Makes the other half current; under a mutex. Release: what was cleaned before.
  void flip() {
    current_.store(1 - current_.load(std::memory_order_relaxed), std::memory_order_release);
  }

  /// Notes pages [first, first + count), as far as the log goes. Any lock, never sleeps. Relaxed: the
  /// reader waits for the end of the section, or has the mutex.
  void note(unsigned half, std::uint64_t first, std::uint64_t count) {
    const std::uint64_t end = std::min(first + count, count_ * pages_per_word);
    while (first < end) {
      const std::uint64_t bit = first % pages_per_word;
      const std::uint64_t here = std::min(pages_per_word - bit, end - first);
      const std::uint64_t mask = (~std::uint64_t(0) >> (pages_per_word - here)) << bit;
      Word& word = words_[half * count_ + first / pages_per_word];
      if ((word.load(std::memory_order_relaxed) & mask) != mask)
        word.fetch_or(mask, std::memory_order_relaxed);
      first += here;
    }
  }

  /// The bits of word `index`, which are clear from now on. Relaxed: nobody notes into a half that is
  /// not current, once the grace period is over.
  [[nodiscard]] std::uint64_t take(unsigned half, std::uint64_t index) {
    Word& word = words_[half * count_ + index];
    if (word.load(std::memory_order_relaxed) == 0) return 0;
    return word.exchange(0, std::memory_order_relaxed);
  }

  [[nodiscard]] std::uint64_t words() const { return count_; }

 private:
  Word* words_ = nullptr;
  std::uint64_t count_ = 0; // words in a half
  typename A::template atomic<unsigned> current_{0};
};

} // namespace slat::mmu::stage2
