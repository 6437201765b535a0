#include "failing_new.hpp"

#include <cstddef>
#include <cstdlib>
#include <new>
#include <utility>

// TSan's own cannot be replaced; those who need it skip.
#if defined(__SANITIZE_THREAD__)
#define SLAT_KEEP_NEW
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SLAT_KEEP_NEW
#endif
#endif

namespace {

thread_local unsigned countdown = 0;

#ifndef SLAT_KEEP_NEW
void* take(std::size_t bytes, std::size_t alignment) noexcept {
  if (countdown != 0 && --countdown == 0) return nullptr;
  if (bytes == 0) bytes = 1;
  if (alignment <= alignof(std::max_align_t)) return std::malloc(bytes);
  return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

void* take_or_throw(std::size_t bytes, std::size_t alignment = 1) {
  void* const block = take(bytes, alignment);
  if (block == nullptr) throw std::bad_alloc();
  return block;
}
#endif

} // namespace

#ifndef SLAT_KEEP_NEW
// All forms: the sanitizers' own forms do not call each other.
void* operator new(std::size_t bytes) {
  return take_or_throw(bytes);
}

void* operator new[](std::size_t bytes) {
  return take_or_throw(bytes);
}

void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return take_or_throw(bytes, std::size_t(alignment));
}

void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return take_or_throw(bytes, std::size_t(alignment));
}

void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return take(bytes, 1);
}

void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return take(bytes, 1);
}

void operator delete(void* block) noexcept {
  std::free(block);
}

void operator delete[](void* block) noexcept {
  std::free(block);
}

void operator delete(void* block, std::size_t) noexcept {
  std::free(block);
}

void operator delete[](void* block, std::size_t) noexcept {
  std::free(block);
}

void operator delete(void* block, std::align_val_t) noexcept {
  std::free(block);
}

void operator delete[](void* block, std::align_val_t) noexcept {
  std::free(block);
}

void operator delete(void* block, std::size_t, std::align_val_t) noexcept {
  std::free(block);
}

void operator delete[](void* block, std::size_t, std::align_val_t) noexcept {
  std::free(block);
}

void operator delete(void* block, const std::nothrow_t&) noexcept {
  std::free(block);
}

void operator delete[](void* block, const std::nothrow_t&) noexcept {
  std::free(block);
}

#endif

namespace slat::mmu::testing {

unsigned fail_new(unsigned n) {
  return std::exchange(countdown, n);
}

bool fail_new_works() {
  void* (*volatile allocate)(std::size_t) = operator new; // a call that no compiler leaves out
  fail_new(1);
  try {
    operator delete(allocate(1));
  } catch (const std::bad_alloc&) {
    return true;
  }
  fail_new(0);
  return false;
}

} // namespace slat::mmu::testing
