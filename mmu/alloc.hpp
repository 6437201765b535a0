// Where slat's memory comes from: mimalloc in release builds, the C library under sanitizers
// (mimalloc hides their findings).
#pragma once

#include <cstddef>

namespace slat::mmu {

/// `alignment` is a power of two; nullptr when memory is used up (or a test makes it so). May
/// sleep.
[[nodiscard]] void* allocate(std::size_t bytes, std::size_t alignment);
void deallocate(void* block);

/// Tests: the n-th allocate() of this thread from now on fails, once; 0 switches it off. Returns what
/// was left of the last order: 0 if its allocation has failed by now.
unsigned fail_allocation(unsigned n);

} // namespace slat::mmu
