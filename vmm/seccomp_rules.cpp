#include "vmm/seccomp_rules.hpp"

#include "kvm/uapi_newer.hpp"

#include <algorithm>
#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <cerrno>
#include <csignal>
#include <initializer_list>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

namespace slat::vmm {

namespace {

constexpr std::uint64_t all_bits = ~std::uint64_t(0);
constexpr std::uint64_t low_half = 0xffff'ffff; // the kernel takes an int and drops the rest

class Rules {
 public:
  void allow(std::initializer_list<int> calls) {
    for (const int call : calls) add({call, 0});
  }

  /// Where the argument, an int, is one of these.
  void allow(int call, unsigned argument, std::initializer_list<std::uint64_t> values) {
    for (const std::uint64_t value : values)
      add({call, 0, SeccompCondition{argument, low_half, value & low_half}});
  }

  void allow(int call, const SeccompCondition& condition) { add({call, 0, condition}); }

  void fail(int call, int error) { add({call, error}); }

  void fail(int call, int error, const SeccompCondition& condition) {
    add({call, error, condition});
  }

  std::vector<SeccompRule> take() { return std::move(rules_); }

 private:
  void add(const SeccompRule& rule) {
    if (std::find(rules_.begin(), rules_.end(), rule) == rules_.end()) rules_.push_back(rule);
  }

  std::vector<SeccompRule> rules_;
};

/// Locks, clocks, memory of its own, RCU (whose grace periods nap in poll()), signals that are handled, and the ways
/// out: what any thread of ours does.
void add_common(Rules& rules) {
  rules.allow({SYS_futex, SYS_poll, SYS_sched_yield, SYS_nanosleep, SYS_clock_nanosleep,
               SYS_restart_syscall, SYS_membarrier, SYS_rseq});
  // Of the vDSO, where the clock source is not one that it can read; and of allocators that mind NUMA.
  rules.allow({SYS_clock_gettime, SYS_clock_getres, SYS_gettimeofday, SYS_time, SYS_getcpu});
  // Allocators. Nothing becomes executable, nor does it stay so from one mapping to the next.
  rules.allow({SYS_munmap, SYS_madvise, SYS_mremap, SYS_brk, SYS_getrandom, SYS_sched_getaffinity});
#ifndef SLAT_MIMALLOC
  // The C library's looks once whether the host overcommits, when it first gives memory back; and can do without.
  rules.fail(SYS_openat, EACCES);
#endif
  for (const int call : {SYS_mmap, SYS_mprotect}) rules.allow(call, {2, PROT_EXEC, 0});
  rules.fail(SYS_prctl, EINVAL,
             {0, low_half, PR_SET_VMA}); // a name for a mapping: some kernels have none
  rules.allow({SYS_write});              // lines of output, eventfds
  rules.allow({SYS_rt_sigreturn, SYS_rt_sigprocmask, SYS_getpid, SYS_gettid});
  rules.allow(SYS_tgkill, 0, {own_pid}); // kicks; abort()
  // The handler of SIGBUS gives up by the default action; so does abort().
  rules.allow(SYS_rt_sigaction, 0, {SIGBUS, SIGABRT});
  rules.allow({SYS_exit, SYS_exit_group});
}

/// Who resolves a fault of the guest, or accesses its memory: pages of a memfd come and go.
void add_guest_memory(Rules& rules) {
  rules.allow({SYS_fallocate, SYS_pread64});
  rules.allow(SYS_ioctl, 1, {UFFDIO_CONTINUE, UFFDIO_WAKE, UFFDIO_WRITEPROTECT});
}

/// Starts threads, which have this filter too. Nothing else can be started.
void add_threads(Rules& rules) {
  // What clone3() would do is in memory, where no filter can look: the C library takes clone() then, and that may do
  // nothing but start a thread of this process.
  constexpr std::uint64_t thread_flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND |
                                         CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS |
                                         CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
  rules.fail(SYS_clone3, ENOSYS);
  rules.allow(SYS_clone, {0, all_bits & ~std::uint64_t(CLONE_DETACHED), thread_flags});
  rules.allow({SYS_set_robust_list});
  rules.allow(SYS_prctl, 0, {PR_SET_NAME});
}

/// Who changes the memory map behind a running guest: views move, slots are exchanged.
void add_memory_map(Rules& rules) {
  add_guest_memory(rules);
  add_threads(rules);       // mmu's, for what this address space frees later: on its first use
  rules.allow({SYS_close}); // a backing's memfd
  rules.allow({SYS_mlock2, SYS_munlock});
  rules.allow(SYS_ioctl, 1,
              {UFFDIO_REGISTER, UFFDIO_UNREGISTER, KVM_SET_USER_MEMORY_REGION, KVM_GET_DIRTY_LOG});
}

void add_interrupt_line(Rules& rules) {
  rules.allow(SYS_ioctl, 1, {KVM_IRQ_LINE});
}

void add_vcpu(Rules& rules) {
  add_guest_memory(rules);
  add_interrupt_line(rules);
  // The registers are for the crash report.
  rules.allow(SYS_ioctl, 1, {KVM_RUN, KVM_GET_REGS, KVM_GET_SREGS});
}

void add_fault_service(Rules& rules) {
  add_guest_memory(rules);
  rules.allow({SYS_read});
  rules.allow(SYS_ioctl, 1, {kvm::uapi::uffdio_poison, UFFDIO_UNREGISTER});
}

/// After the start of its guest: the run loop, the console, what is printed at the end, and the teardown.
void add_main(Rules& rules) {
  add_memory_map(rules); // a view is unregistered where it goes
  add_interrupt_line(rules);
  rules.allow({SYS_read, SYS_close, SYS_fstat, SYS_newfstatat, SYS_lseek, SYS_ftruncate});
  rules.allow(SYS_ioctl, 1, {TCGETS, TCSETS, TIOCGWINSZ});
}

void add_device(Rules& rules) {
  add_guest_memory(rules);
  add_interrupt_line(rules);
  rules.allow({SYS_read, SYS_pwrite64, SYS_preadv, SYS_pwritev, SYS_fsync, SYS_fdatasync});
}

void add_control(Rules& rules) {
  add_interrupt_line(rules);  // a new target of a balloon
  add_memory_map(rules);      // a storm that it starts inherits this filter
  rules.allow({SYS_seccomp}); // its storms enter theirs
  rules.allow(SYS_prctl, 0, {PR_SET_NO_NEW_PRIVS});
  rules.allow({SYS_read, SYS_close, SYS_accept4, SYS_recvfrom, SYS_recvmsg, SYS_sendto, SYS_sendmsg,
               SYS_shutdown, SYS_fstat, SYS_newfstatat, SYS_unlink, SYS_unlinkat});
  rules.allow(SYS_getsockopt, 2, {SO_PEERCRED});
  rules.allow({SYS_geteuid});
}

} // namespace

std::vector<SeccompRule> seccomp_rules(ThreadKind kind) {
  Rules rules;
  add_common(rules);
  switch (kind) {
  case ThreadKind::main:
    add_main(rules);
    break;
  case ThreadKind::vcpu:
    add_vcpu(rules);
    break;
  case ThreadKind::fault_service:
    add_fault_service(rules);
    break;
  case ThreadKind::storm:
    add_memory_map(rules);
    break;
  case ThreadKind::reclaim:
    break; // frees what others have retired
  case ThreadKind::device:
    add_device(rules);
    break;
  case ThreadKind::control:
    add_control(rules);
    break;
  }
  return rules.take();
}

} // namespace slat::vmm
