// The OS boundary: every system call on guest memory that mmu/ makes, in one place, so that tests
// can make any of them fail. Lengths are bytes and multiples of the page size. All of them may
// sleep.
#pragma once

#include "mmu/error.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace slat::mmu {

inline constexpr std::size_t page_shift = 12;
inline constexpr std::size_t page_size = std::size_t(1) << page_shift;

} // namespace slat::mmu

namespace slat::mmu::host {

/// A sealed-size memfd. Errc::no_memory names the limit that is in the way.
Result<int> create_memfd(const std::string& name, std::uint64_t bytes);

/// MAP_SHARED of the descriptor. `address` 0: anywhere, aligned to `alignment`; else exactly there,
/// and Errc::exists if something is mapped there.
Result<std::uintptr_t> map_shared(std::uintptr_t address, std::size_t length, int protection,
                                  int fd, std::uint64_t offset, std::size_t alignment = page_size);
Result<void> unmap(std::uintptr_t address, std::size_t length);

/// MAP_SHARED of the descriptor over what is mapped there now, which the caller owns.
Result<void> map_over(std::uintptr_t address, std::size_t length, int protection, int fd,
                      std::uint64_t offset);

/// Address space without memory, PROT_NONE. `address` 0: anywhere, aligned to `alignment`; else over
/// what is mapped there now, which the caller owns.
Result<std::uintptr_t> reserve(std::uintptr_t address, std::size_t length,
                               std::size_t alignment = page_size);

/// The same where nothing is mapped; else Errc::exists.
Result<void> reserve_free(std::uintptr_t address, std::size_t length);

/// mprotect.
Result<void> protect(std::uintptr_t address, std::size_t length, int protection);

/// Moves the mapping and its pages over a reservation at `to`, and leaves an empty mapping of the
/// same memory behind (MREMAP_DONTUNMAP), so that it can always be moved back.
Result<void> move(std::uintptr_t address, std::size_t length, std::uintptr_t to);

/// Pages stay in memory from the moment that they are mapped (MLOCK_ONFAULT); populates nothing.
Result<void> lock(std::uintptr_t address, std::size_t length);
Result<void> unlock(std::uintptr_t address, std::size_t length);

/// Hints: not needed soon (MADV_COLD); reclaim now (MADV_PAGEOUT).
Result<void> cold(std::uintptr_t address, std::size_t length);
Result<void> pageout(std::uintptr_t address, std::size_t length);

/// Takes the pages out of this mapping; the memfd keeps them (MADV_DONTNEED). The kernel
/// invalidates every secondary MMU of the mapping before it returns.
Result<void> zap(std::uintptr_t address, std::size_t length);

/// Allocates the memfd's pages behind a mapping, zeroed where there were none
/// (MADV_POPULATE_WRITE).
Result<void> populate(std::uintptr_t address, std::size_t length);

/// The same without a write: pages of a file are read in (MADV_POPULATE_READ). Where the file has become
/// shorter this fails, and an access would be a SIGBUS.
Result<void> populate_read(std::uintptr_t address, std::size_t length);

/// Allocates a file's pages where there are holes, and changes no content (fallocate).
Result<void> allocate_pages(int fd, std::uint64_t offset, std::uint64_t length);

/// pread until `into` is full or the file ends; returns the bytes read.
Result<std::size_t> read_at(int fd, std::span<std::byte> into, std::uint64_t offset);

/// Gives pages of the memfd back to the host; they are holes and read as zero
/// (FALLOC_FL_PUNCH_HOLE).
Result<void> punch(int fd, std::uint64_t offset, std::uint64_t length);

/// Tests: the n-th call of this thread from now on fails with `error`, once; n = 0 switches it off.
/// Returns what was left of the last order: 0 if its call has failed by now.
unsigned fail_call(unsigned n, int error);

} // namespace slat::mmu::host
