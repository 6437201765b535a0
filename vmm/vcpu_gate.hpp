// VcpuGate: keeps all vCPUs out of the guest while what they run on is exchanged. After QEMU's accel-ioctl-inhibit, which
// makes a change of memory slots (delete one, add another) one step as the guest sees it.
//
// A vCPU's thread is inside from enter() to leave(), around each VcpuBackend::run(). close() turns those away who come,
// and returns when nobody is inside. A vCPU in a memory fault is inside, and close() waits until the fault is resolved:
// so whoever closes has no range in progress and no pin, and serves no faults.
//
// Paused, it is closed once more, by pause(), until resume(). Who closes it meanwhile finds nobody inside, and its open()
// lets nobody in:
//
//   closed_ == 0                  open          vCPUs come and go
//   closed_ == n, not paused      being used    n threads between close() and open()
//   closed_ == n + 1, paused      paused        the same n, and the pause; n may be 0
//   turns_ != 0                   opening       only with closed_ == 0; whoever closes or pauses waits until they are taken
//
// closed_ and paused_ are changed by those four calls, on any thread but a vCPU's that is inside; turns_ is given out by the last
// open() or resume(), and taken by vCPUs.
//
// A vCPU that is to stop does not wait here: enter() asks for that before each sleep, and wake() has it ask again.
//
// Those whom one closing has turned away get in before the next one: open() gives out as many turns as threads wait, and
// close() waits until they are taken. Else whoever closes it again at once would keep them out for ever, and would keep
// a stop from them too.
#pragma once

#include "mmu/thread_safety.hpp"

namespace slat::vmm {

class VcpuGate {
 public:
  /// The vCPU's thread, before it runs the guest. Sleeps while the gate is closed. False: it would have to, and
  /// `stopping()` says that this vCPU is to stop; it is not inside then.
  template <class Stopping> [[nodiscard]] bool enter(Stopping stopping) SLAT_EXCLUDES(mutex_) {
    mmu::MutexGuard guard(mutex_);
    while (closed_ != 0 && turns_ == 0) {
      if (stopping()) return false;
      ++waiting_;
      guard.wait(changed_);
      --waiting_; // who was counted by open() finds a turn, or an open gate: so none is left over
    }
    ++inside_;
    if (turns_ != 0 && --turns_ == 0) changed_.notify_all();
    return true;
  }

  /// The answer of some vCPU's `stopping()` has changed. Any thread; does not sleep.
  void wake() SLAT_EXCLUDES(mutex_) {
    mmu::MutexGuard guard(mutex_); // whoever asked before the change sleeps by now
    changed_.notify_all();
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
    open_once();
  }

  /// As close(), until resume(). Nothing changes if it is paused; returns when no vCPU is inside, unless resume() comes first.
  template <class Kick> void pause(Kick kick) SLAT_EXCLUDES(mutex_) {
    {
      mmu::MutexGuard guard(mutex_);
      while (!paused_ && turns_ != 0) guard.wait(changed_);
      if (!paused_) ++closed_;
      paused_ = true;
      if (inside_ == 0) return;
    }
    kick(); // resumed in between, it costs an exit
    mmu::MutexGuard guard(mutex_);
    while (inside_ != 0 && paused_) guard.wait(changed_);
  }

  /// Nothing changes if it is not paused. Does not sleep.
  void resume() SLAT_EXCLUDES(mutex_) {
    mmu::MutexGuard guard(mutex_);
    if (!paused_) return;
    paused_ = false;
    changed_.notify_all(); // who waits in pause(), also where others keep it closed
    open_once();
  }

  [[nodiscard]] bool is_paused() const SLAT_EXCLUDES(mutex_) {
    mmu::MutexGuard guard(mutex_);
    return paused_;
  }

 private:
  void open_once() SLAT_REQUIRES(mutex_) {
    if (--closed_ != 0) return;
    turns_ = waiting_;
    changed_.notify_all();
  }

  mutable mmu::Mutex mutex_; // a leaf
  std::condition_variable changed_;
  unsigned inside_ SLAT_GUARDED_BY(mutex_) = 0;  // vCPUs
  unsigned closed_ SLAT_GUARDED_BY(mutex_) = 0;  // how often, without an open() or resume() yet
  bool paused_ SLAT_GUARDED_BY(mutex_) = false;  // one of those is a pause
  unsigned waiting_ SLAT_GUARDED_BY(mutex_) = 0; // vCPUs turned away
  unsigned turns_ SLAT_GUARDED_BY(mutex_) = 0;   // entries that come before the next closing
};

} // namespace slat::vmm
