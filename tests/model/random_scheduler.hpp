// The scheduler of random runs. relacy's own draws every step evenly from a 32-bit linear
// congruential generator with a small multiplier: a thread that stands still while the others go
// through a dozen steps, which is what most of these bugs need, hardly ever happens with it. Here
// each execution draws how readily it switches threads and how much it favours each of them, and
// decisions come from a mixed 64-bit counter, so an execution is still known by its number alone.
#pragma once

#include "model/relacy_policy.hpp"

namespace slat::model {

template <rl::thread_id_t Threads>
class RandomScheduler
    : public rl::scheduler<RandomScheduler<Threads>, rl::scheduler_thread_info, Threads> {
 public:
  using Base = rl::scheduler<RandomScheduler<Threads>, rl::scheduler_thread_info, Threads>;
  using thread_info_t = typename Base::thread_info_t;
  using shared_context_t = typename Base::shared_context_t;

  struct task_t {}; // names that relacy asks for

  RandomScheduler(rl::test_params& params, shared_context_t& context, rl::thread_id_t dynamic)
      : Base(params, context, dynamic) {}

  RandomScheduler(const RandomScheduler&) = delete;
  RandomScheduler& operator=(const RandomScheduler&) = delete;

  rl::thread_id_t iteration_begin_impl() {
    state_ = this->iter_ * 0xd1342543de82ef95u; // far apart on the counter that draw() mixes
    switch_one_in_ = 1u << draw(5);             // 1: at every step; 16: long stretches
    for (unsigned& weight : weights_) weight = 1u << (2 * draw(3));
    return pick();
  }

  bool iteration_end_impl() { return this->iter_ >= this->params_.iteration_count; }

  rl::thread_id_t schedule_impl(rl::unpark_reason& reason, unsigned yield) {
    const auto early = static_cast<unsigned>(this->spurious_thread_count_);
    if (early != 0 && this->running_threads_count != 0) {
      if (const unsigned index = draw(8 * early); index < early) {
        const rl::thread_id_t thread = this->spurious_threads_[index]->index_;
        this->unpark_thread(thread);
        reason = rl::unpark_reason_spurious;
        return thread;
      }
    }
    reason = rl::unpark_reason_normal;
    if (yield == 0 && this->thread_->state_ == rl::thread_state_running &&
        draw(switch_one_in_) != 0)
      return this->thread_->index_;
    return pick();
  }

  unsigned rand_impl(unsigned limit, rl::sched_type) { return draw(limit); }

  rl::iteration_t iteration_count_impl() { return this->params_.iteration_count; }

  void get_state_impl(std::ostream&) {}

  void set_state_impl(std::istream&) {}

  void on_thread_block(rl::thread_id_t, bool) {}

 private:
  /// splitmix64, by multiply and shift.
  unsigned draw(unsigned limit) {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return static_cast<unsigned>((((z ^ (z >> 31)) >> 32) * limit) >> 32);
  }

  rl::thread_id_t pick() {
    unsigned total = 0;
    for (const rl::thread_id_t thread : this->running_threads) total += weight(thread);
    unsigned point = draw(total);
    for (const rl::thread_id_t thread : this->running_threads) {
      if (point < weight(thread)) return thread;
      point -= weight(thread);
    }
    return this->running_threads.back();
  }

  [[nodiscard]] unsigned weight(rl::thread_id_t thread) const {
    return weights_[static_cast<std::size_t>(thread)];
  }

  std::uint64_t state_ = 0;
  unsigned switch_one_in_ = 1;
  std::array<unsigned, static_cast<std::size_t>(Threads)> weights_{};
};

} // namespace slat::model
