#include "mmu/host.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLD
#define MADV_COLD 20
#define MADV_PAGEOUT 21
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

namespace slat::mmu::host {

namespace {

thread_local unsigned fail_countdown = 0;
thread_local int fail_error = 0;

bool made_to_fail() {
  if (fail_countdown == 0 || --fail_countdown != 0) [[likely]]
    return false;
  errno = fail_error;
  return true;
}

tl::unexpected<Error> failed(int error, std::string what) {
  const Errc code = error == ENOMEM || error == ENOSPC || error == EMFILE || error == ENFILE ||
                            error == EFBIG // over RLIMIT_FSIZE
                        ? Errc::no_memory
                        : error == EEXIST ? Errc::exists : Errc::os_failed;
  return fail(code, error, fmt::format("{}: {}", what, std::strerror(error)));
}

void* pointer(std::uintptr_t address) {
  return reinterpret_cast<void*>(address);
}

void* aligned_reservation(std::size_t length, std::size_t alignment) {
  const std::size_t reserved = length + alignment;
  void* const base =
      mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return base;
  const auto start = reinterpret_cast<std::uintptr_t>(base);
  const std::uintptr_t aligned = (start + alignment - 1) & ~(alignment - 1);
  if (aligned != start) munmap(base, aligned - start);
  const std::uintptr_t end = aligned + length;
  if (start + reserved != end) munmap(reinterpret_cast<void*>(end), start + reserved - end);
  return reinterpret_cast<void*>(aligned);
}

} // namespace

unsigned fail_call(unsigned n, int error) {
  fail_error = error;
  return std::exchange(fail_countdown, n);
}

Result<int> create_memfd(const std::string& name, std::uint64_t bytes) {
  const int fd = made_to_fail() ? -1 : memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) {
    const int error = errno;
    return failed(error, fmt::format("cannot create a memfd for {} (raise RLIMIT_NOFILE if "
                                     "descriptors are used up)",
                                     name));
  }
  if (made_to_fail() || ftruncate(fd, off_t(bytes)) != 0) {
    const int error = errno;
    auto result = failed(
        error,
        fmt::format("cannot size the memfd of {} to {} bytes (ask for less, or raise RLIMIT_FSIZE)",
                    name, bytes));
    close(fd);
    return result;
  }
  // The size never changes: a page inside it can be a hole, but not a SIGBUS.
  if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
    const int error = errno;
    auto result = failed(error, fmt::format("cannot seal the memfd of {}", name));
    close(fd);
    return result;
  }
  return fd;
}

Result<std::uintptr_t> map_shared(std::uintptr_t address, std::size_t length, int protection,
                                  int fd, std::uint64_t offset, std::size_t alignment) {
  void* where = reinterpret_cast<void*>(address);
  int flags = MAP_SHARED | MAP_NORESERVE;
  if (address != 0) {
    flags |= MAP_FIXED_NOREPLACE;
  } else if (alignment > page_size) {
    where = aligned_reservation(length, alignment);
    if (where == MAP_FAILED) {
      const int error = errno;
      return failed(error, fmt::format("cannot reserve {} bytes of address space", length));
    }
    flags |= MAP_FIXED;
  }
  void* const result =
      made_to_fail() ? MAP_FAILED : mmap(where, length, protection, flags, fd, off_t(offset));
  if (result == MAP_FAILED) {
    const int error = errno;
    if (address == 0 && where != nullptr) munmap(where, length);
    return failed(error, fmt::format("cannot map {} bytes of guest memory", length));
  }
  return reinterpret_cast<std::uintptr_t>(result);
}

Result<void> unmap(std::uintptr_t address, std::size_t length) {
  if (made_to_fail() || munmap(reinterpret_cast<void*>(address), length) != 0) {
    const int error = errno;
    return failed(error, fmt::format("cannot unmap {} bytes at {:#x}", length, address));
  }
  return {};
}

Result<void> map_over(std::uintptr_t address, std::size_t length, int protection, int fd,
                      std::uint64_t offset) {
  if (made_to_fail() ||
      mmap(pointer(address), length, protection, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd,
           off_t(offset)) == MAP_FAILED) {
    const int error = errno;
    return failed(error,
                  fmt::format("cannot map {} bytes of guest memory at {:#x}", length, address));
  }
  return {};
}

Result<std::uintptr_t> reserve(std::uintptr_t address, std::size_t length, std::size_t alignment) {
  void* where = MAP_FAILED;
  if (!made_to_fail())
    where = address == 0 ? aligned_reservation(length, alignment)
                         : mmap(pointer(address), length, PROT_NONE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  if (where == MAP_FAILED) {
    const int error = errno;
    return failed(error, fmt::format("cannot reserve {} bytes of address space", length));
  }
  return reinterpret_cast<std::uintptr_t>(where);
}

Result<void> reserve_free(std::uintptr_t address, std::size_t length) {
  if (made_to_fail() || mmap(pointer(address), length, PROT_NONE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1,
                             0) == MAP_FAILED) {
    const int error = errno;
    return failed(error, fmt::format("cannot reserve {} bytes at {:#x}", length, address));
  }
  return {};
}

Result<void> protect(std::uintptr_t address, std::size_t length, int protection) {
  if (made_to_fail() || mprotect(pointer(address), length, protection) != 0) {
    const int error = errno;
    return failed(error, fmt::format("cannot protect {} bytes at {:#x}", length, address));
  }
  return {};
}

Result<void> move(std::uintptr_t address, std::size_t length, std::uintptr_t to) {
  if (made_to_fail() ||
      mremap(pointer(address), length, length, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
             pointer(to)) == MAP_FAILED) {
    const int error = errno;
    return failed(error,
                  fmt::format("cannot move {} bytes from {:#x} to {:#x}", length, address, to));
  }
  return {};
}

Result<void> lock(std::uintptr_t address, std::size_t length) {
  if (made_to_fail() || mlock2(pointer(address), length, MLOCK_ONFAULT) != 0) {
    const int error = errno;
    if (error == EPERM || error == ENOMEM || error == EAGAIN)
      return fail(Errc::no_memory, error,
                  fmt::format("cannot lock {} bytes at {:#x}: {} (raise RLIMIT_MEMLOCK)", length,
                              address, std::strerror(error)));
    return failed(error, fmt::format("cannot lock {} bytes at {:#x}", length, address));
  }
  return {};
}

Result<void> unlock(std::uintptr_t address, std::size_t length) {
  // Not by munlock(): the sanitizers' does nothing, while they know nothing of mlock2().
  if (made_to_fail() || syscall(SYS_munlock, address, length) != 0) {
    const int error = errno;
    return failed(error, fmt::format("cannot unlock {} bytes at {:#x}", length, address));
  }
  return {};
}

Result<void> cold(std::uintptr_t address, std::size_t length) {
  if (made_to_fail() || madvise(pointer(address), length, MADV_COLD) != 0) {
    const int error = errno;
    return failed(error, fmt::format("cannot mark {} bytes at {:#x} as cold", length, address));
  }
  return {};
}

Result<void> pageout(std::uintptr_t address, std::size_t length) {
  if (made_to_fail() || madvise(pointer(address), length, MADV_PAGEOUT) != 0) {
    const int error = errno;
    return failed(error, fmt::format("cannot page out {} bytes at {:#x}", length, address));
  }
  return {};
}

Result<void> zap(std::uintptr_t address, std::size_t length) {
  if (made_to_fail() || madvise(reinterpret_cast<void*>(address), length, MADV_DONTNEED) != 0) {
    const int error = errno;
    return failed(error, fmt::format("cannot discard {} bytes at {:#x}", length, address));
  }
  return {};
}

namespace {

Result<void> populate_by(int advice, std::uintptr_t address, std::size_t length) {
  int error = 0;
  do {
    if (!made_to_fail() && madvise(pointer(address), length, advice) == 0) return {};
    error = errno;
  } while (error == EINTR || error == EAGAIN);
  return failed(error, fmt::format("cannot populate {} bytes of guest memory", length));
}

} // namespace

Result<void> populate(std::uintptr_t address, std::size_t length) {
  return populate_by(MADV_POPULATE_WRITE, address, length);
}

Result<void> populate_read(std::uintptr_t address, std::size_t length) {
  return populate_by(MADV_POPULATE_READ, address, length);
}

Result<void> allocate_pages(int fd, std::uint64_t offset, std::uint64_t length) {
  int error = 0;
  do {
    if (!made_to_fail() && fallocate(fd, FALLOC_FL_KEEP_SIZE, off_t(offset), off_t(length)) == 0)
      return {};
    error = errno;
  } while (error == EINTR);
  return failed(error, fmt::format("cannot allocate {} bytes at offset {:#x}", length, offset));
}

Result<std::size_t> read_at(int fd, std::span<std::byte> into, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < into.size()) {
    const ssize_t got =
        made_to_fail() ? -1
                       : pread(fd, into.data() + done, into.size() - done, off_t(offset + done));
    if (got == 0) break;
    if (got > 0) {
      done += std::size_t(got);
      continue;
    }
    const int error = errno;
    if (error == EINTR) continue;
    return failed(error, fmt::format("cannot read {} bytes at offset {:#x}", into.size(), offset));
  }
  return done;
}

Result<void> punch(int fd, std::uint64_t offset, std::uint64_t length) {
  int error = 0;
  do {
    if (!made_to_fail() && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off_t(offset),
                                     off_t(length)) == 0)
      return {};
    error = errno;
  } while (error == EINTR);
  return failed(
      error, fmt::format("cannot give {} bytes at offset {:#x} back to the host", length, offset));
}

} // namespace slat::mmu::host
