// The steps of a userfaultfd, measured in this process: a file in memory whose pages are all there, and
// a view of it in which they are not mapped. Faults are those of user space, so no KVM is needed.
#include "kvm/userfaultfd.hpp"
#include "slat/scale/measure.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>

namespace slat::tool::scale {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t page_bytes = 4096;
constexpr std::size_t pages = 1024;
constexpr std::size_t bytes = pages * page_bytes;
constexpr unsigned parked = 16; // threads that wait at a time

double since(Clock::time_point start) {
  return std::chrono::duration<double, std::nano>(Clock::now() - start).count();
}

class Memory {
 public:
  Memory() {
    file_ = memfd_create("slat-scale", MFD_CLOEXEC);
    if (file_ < 0 || ftruncate(file_, bytes) != 0) return;
    view_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_, 0);
    void* const content =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file_, 0);
    if (content == MAP_FAILED) return;
    munmap(content, bytes); // the pages stay
    ok_ = view_ != MAP_FAILED;
  }

  ~Memory() {
    if (view_ != MAP_FAILED) munmap(view_, bytes);
    if (file_ >= 0) close(file_);
  }

  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  [[nodiscard]] bool ok() const { return ok_; }

  [[nodiscard]] std::uint64_t address(std::size_t page) const {
    return std::uint64_t(view_) + page * page_bytes;
  }

  void touch(std::size_t page) const {
    (void)*static_cast<volatile char*>(
        static_cast<void*>(static_cast<char*>(view_) + page * page_bytes));
  }

  /// No page is mapped any more.
  void forget() { (void)madvise(view_, bytes, MADV_DONTNEED); }

 private:
  int file_ = -1;
  void* view_ = MAP_FAILED;
  bool ok_ = false;
};

bool has_event(const kvm::Userfaultfd& uffd, int timeout_ms) {
  pollfd poll_fd{uffd.fd(), POLLIN, 0};
  return poll(&poll_fd, 1, timeout_ms) == 1;
}

/// Reads one; nothing if there is none.
std::uint64_t read_address(kvm::Userfaultfd& uffd) {
  uffd_msg message{};
  const auto got = uffd.read_events({&message, 1});
  return got && *got == 1 ? message.arg.pagefault.address & ~std::uint64_t(page_bytes - 1) : 0;
}

/// Waits for the next event, for at most a second.
std::uint64_t next_address(kvm::Userfaultfd& uffd) {
  return has_event(uffd, 1000) ? read_address(uffd) : 0;
}

/// Threads that fault and wait: what it costs to read their events, to walk past them, to wake one. They
/// run on the server's own processor, and never in its place: what it takes to reach another one that
/// is idle is in a round, not in these.
struct Crowd {
  std::vector<double> poll, read, wake, rouse;

  /// False if an event stays away.
  bool measure(kvm::Userfaultfd& uffd, Memory& memory) {
    memory.forget();
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < parked; ++i)
      threads.emplace_back([&memory, i] {
        const sched_param none{};
        (void)sched_setscheduler(0, SCHED_BATCH, &none);
        memory.touch(i);
      });
    bool all = true;
    for (unsigned i = 0; i < parked; ++i) {
      all = has_event(uffd, 1000) && all;
      const auto start = Clock::now();
      (void)has_event(uffd, 0);
      poll.push_back(since(start));
      const auto middle = Clock::now();
      all = read_address(uffd) != 0 && all;
      read.push_back(since(middle));
    }
    for (unsigned i = 0; i < 20; ++i) {
      const auto start = Clock::now();
      (void)uffd.wake(memory.address(pages - 1), page_bytes); // of whom nobody waits there
      wake.push_back(since(start));
    }
    for (std::size_t i = 0; i < parked; ++i) {
      (void)uffd.continue_range(memory.address(i), page_bytes, kvm::Wake::no);
      const auto start = Clock::now();
      (void)uffd.wake(memory.address(i), page_bytes);
      rouse.push_back(since(start));
    }
    for (std::thread& thread : threads) thread.join();
    return all;
  }
};

/// One thread touches page after page on processor `elsewhere`, this one serves it. Nanoseconds a page,
/// or 0.
double round_trip(kvm::Userfaultfd& uffd, Memory& memory, std::size_t count, int elsewhere) {
  memory.forget();
  std::atomic<Clock::duration::rep> taken{0};
  std::thread toucher([&] {
    bind_to(elsewhere);
    const auto start = Clock::now();
    for (std::size_t page = 0; page < count; ++page) memory.touch(page);
    taken = (Clock::now() - start).count();
  });
  bool all = true;
  for (std::size_t page = 0; page < count; ++page) {
    const std::uint64_t address = next_address(uffd);
    all = address != 0 && all;
    if (address != 0) (void)uffd.continue_range(address, page_bytes);
    if (!all) { // let it go
      (void)uffd.unregister_range(memory.address(0), bytes);
      break;
    }
  }
  toucher.join();
  return all ? double(taken.load()) / double(count) : 0;
}

/// On the thread of a server. `elsewhere`: another processor, if there is one.
std::string measure_here(Costs& costs, int elsewhere) {
  Memory memory;
  if (!memory.ok()) return "no shared memory to be had";
  auto uffd = kvm::Userfaultfd::open({.required = UFFD_FEATURE_MINOR_SHMEM});
  if (!uffd) return uffd.error().message;
  if (auto ok = uffd->register_range(memory.address(0), bytes, {.missing = true, .minor = true});
      !ok)
    return ok.error().message;

  // Pages that nobody waits for.
  std::vector<double> alone, idle_wake;
  for (unsigned i = 0; i < 5; ++i) {
    memory.forget();
    const auto start = Clock::now();
    for (std::size_t page = 0; page < pages; ++page)
      (void)uffd->continue_range(memory.address(page), page_bytes, kvm::Wake::no);
    alone.push_back(since(start) / double(pages));
    const auto middle = Clock::now();
    for (unsigned n = 0; n < 200; ++n) (void)uffd->wake(memory.address(0), page_bytes);
    idle_wake.push_back(since(middle) / 200);
  }

  Crowd crowd;
  for (unsigned i = 0; i < 5; ++i)
    if (!crowd.measure(*uffd, memory)) return "an event of a fault did not come within a second";
  std::vector<double> rounds;
  for (unsigned i = 0; i < 5; ++i) {
    const double ns = round_trip(*uffd, memory, 256, elsewhere);
    if (ns == 0) return "an event of a fault did not come within a second";
    rounds.push_back(ns);
  }

  const double no_waiter = lower_quarter(idle_wake);
  const double crowded = lower_quarter(crowd.wake);
  costs.set(uffd_poll, lower_quarter(crowd.poll));
  costs.set(uffd_read, lower_quarter(crowd.read));
  costs.set(uffd_continue, lower_quarter(alone));
  costs.set(uffd_wake, no_waiter);
  costs.set(uffd_walk, std::max(0., (crowded - no_waiter) / parked));
  // Half of them wait, on average, when one is woken.
  costs.set(uffd_rouse, std::max(0., lower_quarter(crowd.rouse) - (no_waiter + crowded) / 2));
  costs.set(uffd_round, lower_quarter(rounds));
  return {};
}

} // namespace

std::string measure_uffd(Costs& costs) {
  const std::vector<int> processors = two_processors();
  std::string missing;
  std::thread([&] { // for its processor, which its children have too
    bind_to(processors.front());
    missing = measure_here(costs, processors.back());
  })
      .join();
  return missing;
}

} // namespace slat::tool::scale
