#include "vmm/fault_service.hpp"

#include "vmm/patience.hpp"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <system_error>
#include <unistd.h>

namespace slat::vmm {

namespace {

std::uint64_t now_ns() {
  return std::uint64_t(std::chrono::steady_clock::now().time_since_epoch() /
                       std::chrono::nanoseconds(1));
}

} // namespace

FaultService::FaultService(GuestRam& ram, kvm::Userfaultfd& uffd, const Options& options,
                           OnFailure on_failure)
    : ram_(&ram), mm_(&ram.mm()), uffd_(&uffd), secondary_(uffd, ram.mm().counters()),
      options_(options), on_failure_(std::move(on_failure)), around_(options.around) {}

Result<std::unique_ptr<FaultService>> FaultService::start(GuestRam& ram, kvm::Userfaultfd& uffd,
                                                          const Options& options,
                                                          OnFailure on_failure) {
  std::unique_ptr<FaultService> service(
      new FaultService(ram, uffd, options, std::move(on_failure)));
  service->stop_ = kvm::Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (service->stop_.get() < 0)
    return fail(
        Errc::host_limit, errno,
        fmt::format("cannot create an eventfd: {}; raise the limit on open files (ulimit -n)",
                    std::strerror(errno)));
  for (unsigned i = 0; i < options.threads; ++i) {
    try {
      service->threads_.emplace_back([service = service.get(), i] { service->run_guarded(i); });
    } catch (const std::system_error& error) { // std::thread's only way to say no
      return fail(Errc::host_limit, error.code().value(),
                  fmt::format("cannot start fault thread {} of {}: {} (use fewer --fault-threads)",
                              i + 1, options.threads, error.code().message()));
    }
  }
  return service;
}

FaultService::~FaultService() {
  if (threads_.empty()) return;
  const std::uint64_t one = 1;
  (void)!::write(stop_.get(), &one, sizeof one); // an eventfd takes it
  for (std::thread& thread : threads_) thread.join();
}

void FaultService::run_guarded(unsigned index) {
  try {
    pthread_setname_np(pthread_self(), fmt::format("slat-fault-{}", index).c_str());
    if (auto ok = enter_sandbox(ThreadKind::fault_service, options_.seccomp); !ok) {
      give_up(ok.error().message);
      return;
    }
    run();
  } catch (const std::exception& error) { // out of memory, say: the guest ends, not the process
    give_up(std::string("a fault thread has ended: ") + error.what());
  }
}

void FaultService::give_up(const std::string& why) {
  on_failure_(why);
  // Who waits for this thread is let go. The vCPUs have been kicked by now, so they leave and do not go on with what
  // the kernel has put in place of a page.
  for (const GuestRam::Region& region : ram_->regions())
    (void)uffd_->unregister_range(region.guest_view, region.gpa.size);
}

void FaultService::run() {
  // One message at a time where there are colleagues to take the next one.
  std::array<uffd_msg, 16> messages;
  const std::size_t batch = options_.threads > 1 ? 1 : messages.size();
  std::array<pollfd, 2> fds{pollfd{uffd_->fd(), POLLIN, 0}, pollfd{stop_.get(), POLLIN, 0}};
  for (;;) {
    if (poll(fds.data(), fds.size(), -1) < 0) continue; // EINTR
    if (fds[1].revents != 0) return;
    const auto count = uffd_->read_events(std::span(messages).first(batch));
    if (!count) {
      give_up("a fault thread ends, for messages of the userfaultfd cannot be read: " +
              count.error().message);
      return;
    }
    if (*count == 0) continue;
    const std::uint64_t read_at_ns = now_ns();
    for (const uffd_msg& message : std::span(messages).first(*count)) {
      const kvm::UffdEvent event = kvm::decode_event(message);
      if (const auto* fault = std::get_if<kvm::FaultEvent>(&event)) serve(*fault, read_at_ns);
    }
  }
}

void FaultService::serve(const kvm::FaultEvent& event, std::uint64_t read_at_ns) {
  if (const auto delay = delay_.load(std::memory_order_relaxed); delay.count() != 0) // set_delay()
    std::this_thread::sleep_for(delay);
  // See set_bare(). What it cannot do is for the rest: a page that the guest has not had before, say.
  if (bare_.load(std::memory_order_relaxed) && event.minor &&
      uffd_->continue_range(event.address & ~(mmu::page_size - 1), mmu::page_size).ok()) {
    bare_count_.fetch_add(1, std::memory_order_relaxed); // a sum
    return;
  }
  mmu::Counters& counters = mm_->counters();
  counters.add(event.wp      ? mmu::Counter::uffd_wp_count
               : event.minor ? mmu::Counter::uffd_minor_count
                             : mmu::Counter::uffd_missing_count);
  const std::uint32_t moves = ram_->moves();
  FaultAround::Window window;
  if (!event.wp)
    window = around_.window(event.thread_id, event.address); // the neighbours are there
  const mmu::FaultOutcome outcome =
      handle_fault_patiently(*mm_, {.address = event.address,
                                    .access = event.write ? mmu::vm_write : mmu::vm_read,
                                    .mmu = &secondary_,
                                    .around_start = window.start,
                                    .around_end = window.end});
  if (outcome.result == mmu::FaultResult::done) {
    latency_.record(now_ns() - read_at_ns);
    return;
  }
  const std::uintptr_t page = event.address & ~(mmu::page_size - 1);
  if (outcome.result == mmu::FaultResult::no_vma &&
      (moves % 2 != 0 || ram_->moves() != moves || !ram_->is_in_guest_view(event.address))) {
    // Its vCPU was kicked out of the fault, and the view has moved since: nothing moves while a vCPU is in a fault.
    counters.add(mmu::Counter::uffd_stale_count);
    (void)uffd_->wake(page, mmu::page_size); // if anybody waits here, it faults again
    return;
  }
  if (outcome.result == mmu::FaultResult::denied) {
    // Protected since the message was sent. The vCPU faults again, and the kernel refuses it as the mapping is now.
    counters.add(mmu::Counter::uffd_stale_count);
    (void)uffd_->wake(page, mmu::page_size);
    return;
  }
  on_failure_(fmt::format("a fault at {:#x} in the guest view cannot be resolved: {}",
                          event.address, mmu::to_string(outcome.result)));
  (void)uffd_->poison(page, mmu::page_size);
  (void)uffd_->wake(page,
                    mmu::page_size); // also where this kernel cannot poison: the run is over anyway
}

} // namespace slat::vmm
