// Userfaultfd: page faults of this process' own memory, handed to this process.
#pragma once

#include "kvm/error.hpp"
#include "kvm/fd.hpp"
#include "kvm/uapi.hpp"
#include "kvm/uffd_event.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace slat::kvm {

/// What an install did. `error` is 0, or the errno that stopped it after `bytes` bytes, from the
/// start of the range:
///   EEXIST  the next page is mapped already: somebody else was faster. Its waiters may not have
///   been woken if that
///           was done with Wake::no: a wake() costs little and is always right.
///   EAGAIN  the address space is changing under it (a remove or unmap event is waiting to be
///   read): read the
///           events, then try again from where it stopped.
///   ENOENT  the range is no longer registered, or not mapped: it was taken away, and nobody waits
///   for it. EFAULT  continue_range(): the file has no page there (any more). copy(): `from` cannot
///   be read. EINVAL  not whole pages, outside the process, or an operation that this memory or
///   kernel does not have. ENOSPC, ENOMEM  the host has no memory for it. ESRCH: the process that
///   faulted is gone.
struct Installed {
  std::uint64_t bytes;
  int error;

  [[nodiscard]] bool ok() const { return error == 0; }
};

/// Whether an install wakes the threads that wait for the pages it installed.
enum class Wake : bool { no, yes };
/// Whether pages are installed, or made, write-protected.
enum class Protect : bool { no, yes };

/// What is asked of a range. At least one.
struct Modes {
  bool missing = false; // pages that are not in the file or in memory
  bool minor = false;   // pages that are in the file (memfd, hugetlbfs) and not mapped
  bool wp = false;      // writes to pages that write_protect() protected
};

/// How to open one.
struct UffdOptions {
  std::uint64_t wanted = 0;   // UFFD_FEATURE_*: switched on where the kernel offers them
  std::uint64_t required = 0; // likewise, but an error where it does not
  std::string device = "/dev/userfaultfd";
  bool system_call = true; // try userfaultfd(2) where the device does not work
};

/// Owns a userfaultfd. It reports faults of the kernel too (KVM's, and system calls' that touch the
/// memory). Every method but the moves is thread-safe, takes no lock of ours and may be called by
/// several threads on one object; several threads may read from it, and each message goes to
/// exactly one of them.
///
/// Installs may sleep: they allocate pages, and take the process' mmap lock for reading. So no
/// thread that serves faults may itself touch registered memory, nor wait for somebody who holds
/// the mmap lock and waits for a fault. They allocate nothing in user space.
class Userfaultfd {
 public:
  enum class Source { device, system_call };

  /// Errors: no_permission, no_device or not_supported (kernel without it, or a required feature
  /// missing; also UFFD_FEATURE_EVENT_FORK, which is not implemented here), call_failed. The line
  /// says what to change.
  [[nodiscard]] static Result<Userfaultfd> open(const UffdOptions& options = {});

  /// To poll() for POLLIN.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

  [[nodiscard]] Source source() const noexcept { return source_; }

  /// UFFD_FEATURE_* that the kernel has, and that are switched on here.
  [[nodiscard]] std::uint64_t offered() const noexcept { return offered_; }

  [[nodiscard]] std::uint64_t enabled() const noexcept { return enabled_; }

  /// Guards `bytes` bytes from `address`, whole pages, all mapped, of one kind of memory. From now
  /// on faults wait for an install. Returns the operations that work there: bit _UFFDIO_COPY and so
  /// on. May sleep. Errors: invalid_argument, not_supported (this mode on this memory),
  /// no_permission (memory that may not be written), call_failed (EBUSY: another userfaultfd guards
  /// it).
  [[nodiscard]] Result<std::uint64_t> register_range(std::uint64_t address, std::uint64_t bytes,
                                                     Modes modes);
  /// Guards it no longer, and wakes who waits in it. Removes write protection. May sleep.
  Result<void> unregister_range(std::uint64_t address, std::uint64_t bytes);

  /// Maps pages that are in the file. Resolves minor faults. Protect::yes needs Linux 6.4 and mode
  /// wp.
  [[nodiscard]] Installed continue_range(std::uint64_t address, std::uint64_t bytes,
                                         Wake wake = Wake::yes,
                                         Protect protect = Protect::no) noexcept;
  /// Fills missing pages with a copy of [from, from + bytes). Atomic page by page. Protect::yes
  /// needs mode wp.
  [[nodiscard]] Installed copy(std::uint64_t address, const void* from, std::uint64_t bytes,
                               Wake wake = Wake::yes, Protect protect = Protect::no) noexcept;
  /// Fills missing pages with zeroes. Not on hugetlbfs.
  [[nodiscard]] Installed zeropage(std::uint64_t address, std::uint64_t bytes,
                                   Wake wake = Wake::yes) noexcept;
  /// Makes accesses to missing pages fail (SIGBUS, or EFAULT for the kernel) until they are
  /// unmapped. Linux 6.6.
  [[nodiscard]] Installed poison(std::uint64_t address, std::uint64_t bytes,
                                 Wake wake = Wake::yes) noexcept;
  /// Takes private anonymous pages from `from` and gives them to `address`, without a copy.
  /// Linux 6.8.
  [[nodiscard]] Installed move(std::uint64_t address, std::uint64_t from, std::uint64_t bytes,
                               Wake wake = Wake::yes) noexcept;
  /// Protects mapped pages against writes, or permits writes again and wakes. `bytes` of the result
  /// is all or nothing, though on error some pages may have changed. Pages that are not mapped are
  /// not protected, unless the memory is a file's or uapi::uffd_feature_wp_unpopulated is on.
  [[nodiscard]] Installed write_protect(std::uint64_t address, std::uint64_t bytes, Protect protect,
                                        Wake wake = Wake::yes) noexcept;
  /// Wakes every thread that waits in the range; they try again. Returns 0 or an errno (EINVAL).
  /// Does not sleep.
  [[nodiscard]] int wake(std::uint64_t address, std::uint64_t bytes) noexcept;

  /// Reads as many messages as there are and fit; 0 when there is none. Never sleeps. Decode them
  /// with decode_event(). Errors: call_failed.
  [[nodiscard]] Result<std::size_t> read_events(std::span<uffd_msg> messages) noexcept;

 private:
  Userfaultfd(Fd fd, Source source, std::uint64_t offered, std::uint64_t enabled)
      : fd_(std::move(fd)), source_(source), offered_(offered), enabled_(enabled) {}

  Fd fd_;
  Source source_;
  std::uint64_t offered_;
  std::uint64_t enabled_;
};

} // namespace slat::kvm
