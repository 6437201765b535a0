// One vCPU's work: fill its share of the pages, work on it, verify another's.
#pragma once

#include "guests/abi.hpp"
#include "guests/memstress/stress.hpp"

#include <cstdint>

namespace slat::guest {

class Worker {
 public:
  explicit Worker(std::uint32_t vcpu);

  /// Generation 1 into every page of the share.
  void initialise();
  /// Until the passes or seconds are over or the host asks to stop.
  void run();
  /// Every page of the next vCPU's share, so that what one vCPU wrote is read by another.
  void verify();

 private:
  enum class Operation { verify, write, modify };

  void visit(std::uint64_t index, Operation operation);
  [[nodiscard]] bool check(std::uint64_t index, std::uint64_t address, PageId expected);
  void touch(std::uint64_t index);
  void discard(); // one step of giving a page up and taking it back
  void give_up(std::uint64_t index);
  void look_at_given_up();
  void take_back();
  void advance_some_counter();
  void damage(Kind kind);
  void damage_as_ordered(); // by the command line; vCPU 0, once
  void damage_on_request(); // by the host through the mailbox; vCPU 0

  [[nodiscard]] bool stop_asked() const;
  std::uint64_t next_index();
  std::uint64_t random();
  [[nodiscard]] std::uint64_t random_below(std::uint64_t limit);
  Operation next_operation();

  std::uint32_t vcpu_;
  VcpuSlot& slot_;
  std::uint32_t* generations_;
  std::uint64_t begin_, size_; // the share, in private pages; overlap: all of them
  std::uint64_t random_state_;
  std::uint64_t sequence_ = 0;          // cursor of order seq
  std::uint64_t stride_ = 0;            // cursor of order stride ...
  std::uint64_t stride_start_ = 0;      // ... and where its current round began
  Order order_;                         // of the current batch
  std::uint64_t deadline_ = UINT64_MAX; // TSC
  bool damaged_ = false;
  bool touch_writes_ = false; // the mailbox's, of the current batch

  // The page that is given up and not acknowledged. Its entry of generations_ is 0, so that nobody looks at it.
  static constexpr std::uint64_t no_page = UINT64_MAX;
  std::uint64_t given_up_ = no_page;
  std::uint32_t given_up_generation_ = 0; // what it held
  std::uint32_t give_up_sequence_ = 0;
};

} // namespace slat::guest
