#include "kvm/userfaultfd.hpp"

#include "kvm/ioctl.hpp"
#include "kvm/uapi_newer.hpp"

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>
#include <unistd.h>

namespace slat::kvm {

namespace {

constexpr std::uint64_t bit(unsigned nr) {
  return std::uint64_t{1} << nr;
}

// Drives one install to its end. The kernel stops in the middle with EAGAIN and a byte count, which
// hides what stopped it: going on from there either makes progress or tells. `step(done)` installs
// from offset `done`, and returns the ioctl's result and where the kernel put its count, 0 before
// the call: not every path writes it.
template <class Step> Installed install(std::uint64_t bytes, Step step) noexcept {
  std::uint64_t done = 0;
  for (;;) {
    std::int64_t progress = 0;
    const int rc = step(done, progress);
    if (progress > 0) done += std::min(static_cast<std::uint64_t>(progress), bytes - done);
    if (rc >= 0) return {bytes, 0};
    if (rc != -EAGAIN || progress <= 0) return {done, -rc};
    if (done == bytes) return {done, 0};
  }
}

tl::unexpected<Error> register_failed(std::uint64_t address, std::uint64_t bytes, int err) {
  const std::string what = fmt::format("userfaultfd for {:#x}, {:#x} bytes", address, bytes);
  switch (err) {
  case EINVAL:
    return fail(Errc::invalid_argument, err,
                fmt::format("{}: refused; the range must be whole pages, all mapped, of memory "
                            "that has the modes asked for (minor: memfd or hugetlbfs)",
                            what));
  case ENOMEM:
    return fail(Errc::invalid_argument, err, fmt::format("{}: the range is not mapped", what));
  case EPERM:
    return fail(Errc::no_permission, err,
                fmt::format("{}: the memory may not be written, and so not be filled; map the file "
                            "from a writable descriptor",
                            what));
  case EBUSY:
    return fail(Errc::call_failed, err,
                fmt::format("{}: another userfaultfd guards it; unregister it there first", what));
  default:
    return call_failed(what, err);
  }
}

} // namespace

Result<std::uint64_t> Userfaultfd::register_range(std::uint64_t address, std::uint64_t bytes,
                                                  Modes modes) {
  uffdio_register range{};
  range.range = {address, bytes};
  std::uint64_t needed = bit(_UFFDIO_WAKE);
  if (modes.missing) {
    range.mode |= UFFDIO_REGISTER_MODE_MISSING;
    needed |= bit(_UFFDIO_COPY);
  }
  if (modes.minor) {
    range.mode |= UFFDIO_REGISTER_MODE_MINOR;
    needed |= bit(_UFFDIO_CONTINUE);
  }
  if (modes.wp) {
    range.mode |= UFFDIO_REGISTER_MODE_WP;
    needed |= bit(_UFFDIO_WRITEPROTECT);
  }
  const int rc = retry_ioctl(fd_, UFFDIO_REGISTER, &range);
  if (rc < 0) return register_failed(address, bytes, -rc);
  if ((range.ioctls & needed) != needed) {
    // A fault there could never be resolved: better no guard than a thread that waits for ever.
    const auto undone = unregister_range(address, bytes);
    return fail(Errc::not_supported, 0,
                fmt::format("userfaultfd for {:#x}, {:#x} bytes: this memory lacks operations "
                            "{:#x}{}; use another kind of memory or a newer kernel",
                            address, bytes, needed & ~std::uint64_t{range.ioctls},
                            undone ? "" : ", and could not be unregistered"));
  }
  return std::uint64_t{range.ioctls};
}

Result<void> Userfaultfd::unregister_range(std::uint64_t address, std::uint64_t bytes) {
  uffdio_range range{address, bytes};
  const int rc = retry_ioctl(fd_, UFFDIO_UNREGISTER, &range);
  if (rc == -EINVAL || rc == -ENOMEM)
    return fail(Errc::invalid_argument, -rc,
                fmt::format("userfaultfd for {:#x}, {:#x} bytes: {}; not whole pages, or nothing "
                            "mapped there",
                            address, bytes, os_error_text(-rc)));
  if (rc < 0) return call_failed("UFFDIO_UNREGISTER", -rc);
  // Linux (seen on 6.18) wakes here only where missing faults were registered: who waits for a
  // minor or wp fault would wait for ever. A wake needs no registration.
  const int err = wake(address, bytes);
  if (err != 0) return call_failed("UFFDIO_WAKE", err);
  return {};
}

Installed Userfaultfd::continue_range(std::uint64_t address, std::uint64_t bytes, Wake wake,
                                      Protect protect) noexcept {
  return install(bytes, [&](std::uint64_t done, std::int64_t& progress) {
    uffdio_continue arg{};
    arg.range = {address + done, bytes - done};
    arg.mode = (wake == Wake::no ? UFFDIO_CONTINUE_MODE_DONTWAKE : 0) |
               (protect == Protect::yes ? uapi::uffdio_continue_mode_wp : 0);
    const int rc = retry_ioctl(fd_, UFFDIO_CONTINUE, &arg);
    progress = arg.mapped;
    return rc;
  });
}

Installed Userfaultfd::copy(std::uint64_t address, const void* from, std::uint64_t bytes, Wake wake,
                            Protect protect) noexcept {
  return install(bytes, [&](std::uint64_t done, std::int64_t& progress) {
    uffdio_copy arg{};
    arg.dst = address + done;
    arg.src = reinterpret_cast<std::uint64_t>(from) + done;
    arg.len = bytes - done;
    arg.mode = (wake == Wake::no ? UFFDIO_COPY_MODE_DONTWAKE : 0) |
               (protect == Protect::yes ? UFFDIO_COPY_MODE_WP : 0);
    const int rc = retry_ioctl(fd_, UFFDIO_COPY, &arg);
    progress = arg.copy;
    return rc;
  });
}

Installed Userfaultfd::zeropage(std::uint64_t address, std::uint64_t bytes, Wake wake) noexcept {
  return install(bytes, [&](std::uint64_t done, std::int64_t& progress) {
    uffdio_zeropage arg{};
    arg.range = {address + done, bytes - done};
    arg.mode = wake == Wake::no ? UFFDIO_ZEROPAGE_MODE_DONTWAKE : 0;
    const int rc = retry_ioctl(fd_, UFFDIO_ZEROPAGE, &arg);
    progress = arg.zeropage;
    return rc;
  });
}

Installed Userfaultfd::poison(std::uint64_t address, std::uint64_t bytes, Wake wake) noexcept {
  return install(bytes, [&](std::uint64_t done, std::int64_t& progress) {
    uapi::UffdioPoison arg{};
    arg.range = {address + done, bytes - done};
    arg.mode = wake == Wake::no ? uapi::uffdio_poison_mode_dontwake : 0;
    const int rc = retry_ioctl(fd_, uapi::uffdio_poison, &arg);
    progress = arg.updated;
    return rc;
  });
}

Installed Userfaultfd::move(std::uint64_t address, std::uint64_t from, std::uint64_t bytes,
                            Wake wake) noexcept {
  return install(bytes, [&](std::uint64_t done, std::int64_t& progress) {
    uapi::UffdioMove arg{};
    arg.dst = address + done;
    arg.src = from + done;
    arg.len = bytes - done;
    arg.mode = wake == Wake::no ? uapi::uffdio_move_mode_dontwake : 0;
    const int rc = retry_ioctl(fd_, uapi::uffdio_move, &arg);
    progress = arg.move;
    return rc;
  });
}

Installed Userfaultfd::write_protect(std::uint64_t address, std::uint64_t bytes, Protect protect,
                                     Wake wake) noexcept {
  uffdio_writeprotect arg{};
  arg.range = {address, bytes};
  // The kernel refuses DONTWAKE together with WP: protecting never wakes.
  if (protect == Protect::yes)
    arg.mode = UFFDIO_WRITEPROTECT_MODE_WP;
  else if (wake == Wake::no)
    arg.mode = UFFDIO_WRITEPROTECT_MODE_DONTWAKE;
  const int rc = retry_ioctl(fd_, UFFDIO_WRITEPROTECT, &arg);
  return rc < 0 ? Installed{0, -rc} : Installed{bytes, 0};
}

int Userfaultfd::wake(std::uint64_t address, std::uint64_t bytes) noexcept {
  uffdio_range range{address, bytes};
  return -std::min(0, retry_ioctl(fd_, UFFDIO_WAKE, &range));
}

Result<std::size_t> Userfaultfd::read_events(std::span<uffd_msg> messages) noexcept {
  for (;;) {
    const ssize_t got = ::read(fd_.get(), messages.data(), messages.size_bytes());
    if (got >= 0) return static_cast<std::size_t>(got) / sizeof(uffd_msg);
    if (errno == EAGAIN) return std::size_t{0};
    if (errno != EINTR) return call_failed("read of the userfaultfd", errno);
  }
}

} // namespace slat::kvm
