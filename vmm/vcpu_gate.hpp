// VcpuGate: keeps all vCPUs out of the guest while what they run on is exchanged. After QEMU's accel-ioctl-inhibit, which
// makes a change of memory slots (delete one, add another) one step as the guest sees it.
//
// A vCPU's thread is inside from enter() to leave(), around each VcpuBackend::run(). close() turns those away who come,
// and returns when nobody is inside. A vCPU in a memory fault is inside, and close() waits until the fault is resolved:
// so whoever closes has no range in progress and no pin, and serves no faults.
//
// Those whom one closing has turned away get in before the next one: open() gives out as many turns as threads wait, and
// close() waits until they are taken. Else whoever closes it again at once would keep them out for ever, and would keep
// a stop from them too.
#pragma once

#include "mmu/thread_safety.hpp"

namespace slat::vmm {

class VcpuGate {
 public:
  /// The vCPU's thread, before it runs the guest. Sleeps while the gate is closed.
  void enter() SLAT_EXCLUDES(mutex_) {
    mmu::MutexGuard guard(mutex_);
    while (closed_ != 0 && turns_ == 0) {
      ++waiting_;
      guard.wait(changed_);
      --waiting_;
    }
    ++inside_;
    if (turns_ != 0 && --turns_ == 0) changed_.notify_all();
  }

  /// After it.
  void leave() SLAT_EXCLUDES(mutex_) {
    mmu::MutexGuard guard(mutex_);
    if (--inside_ == 0 && closed_ != 0) changed_.notify_all();
  }

  /// Returns when no vCPU is inside, and keeps them out until open(). `kick()` makes those inside leave soon
  /// (VcpuBackend::request_exit()). Several may close it. Not on a vCPU's thread that is inside. Sleeps.
  template <class Kick> void close(Kick kick) SLAT_EXCLUDES(mutex_) {
    {
      mmu::MutexGuard guard(mutex_);
      while (turns_ != 0) guard.wait(changed_);
      ++closed_;
      if (inside_ == 0) return;
    }
    kick(); // who was inside then; nobody has come in since
    mmu::MutexGuard guard(mutex_);
    while (inside_ != 0) guard.wait(changed_);
  }

  void open() SLAT_EXCLUDES(mutex_) {
    mmu::MutexGuard guard(mutex_);
    if (--closed_ != 0) return;
    turns_ = waiting_;
    changed_.notify_all();
  }

 private:
  mmu::Mutex mutex_; // a leaf
  std::condition_variable changed_;
  unsigned inside_ SLAT_GUARDED_BY(mutex_) = 0;  // vCPUs
  unsigned closed_ SLAT_GUARDED_BY(mutex_) = 0;  // how often, without an open() yet
  unsigned waiting_ SLAT_GUARDED_BY(mutex_) = 0; // vCPUs turned away
  unsigned turns_ SLAT_GUARDED_BY(mutex_) = 0;   // entries that come before the next closing
};

} // namespace slat::vmm
