// A machine for tests of the control API: it remembers what it was asked to do.
#pragma once

#include "vmm/control_api.hpp"

#include <string>
#include <vector>

namespace slat::vmm {

class FakeBalloon final : public BalloonControl {
 public:
  Result<void> set_target(std::uint64_t bytes) override {
    if (bytes > ram) return fail(Errc::invalid_argument, 0, "the balloon would be beyond the RAM");
    state_.target_bytes = bytes;
    return {};
  }

  [[nodiscard]] State state() const override { return state_; }

  [[nodiscard]] Statistics statistics() override { return {{"free_memory", 12345}}; }

  static constexpr std::uint64_t ram = 256 << 20;
  State state_{64 << 20, 32 << 20, 0, 0, true, false};
};

class FakeControlled final : public Controlled {
 public:
  Instance instance() override { return {"slat-7", "0.1.0", 2, 256 << 20, "soft", "vma-refcount"}; }

  bool is_paused() override { return paused; }

  void pause() override { paused = true; }

  void resume() override { paused = false; }

  std::string memory_json() override { return R"({"fault_count":7})"; }

  BalloonControl* balloon() override { return has_balloon ? &fake_balloon : nullptr; }

  StormState storm() override {
    return {running, last.kinds, last.rate, last.pages, 17, storm_error};
  }

  Result<void> start_storm(const StormOrder& order) override {
    if (running) return fail(Errc::invalid_argument, 0, "a storm is running");
    if (order.kinds != "zap" && order.kinds != "zap,reclaim")
      return fail(Errc::invalid_argument, 0, "no storm of that name");
    last = order;
    running = true;
    return {};
  }

  Result<void> end_storm() override {
    if (!running) return fail(Errc::invalid_argument, 0, "no storm is running");
    running = false;
    return {};
  }

  void shut_down() override { ++shutdowns; }

  bool paused = false;
  bool has_balloon = true;
  bool running = false;
  StormOrder last = {};
  std::string storm_error;
  unsigned shutdowns = 0;
  FakeBalloon fake_balloon;
};

} // namespace slat::vmm
