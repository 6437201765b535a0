// MachineControl: --api-socket: a machine and its storms, as the control API acts on them.
#pragma once

#include "slat/storm_keeper.hpp"
#include "vmm/control_api.hpp"
#include "vmm/control_socket.hpp"
#include "vmm/machine.hpp"

#include <atomic>
#include <memory>
#include <string>

namespace slat::tool {

class MachineControl final : public vmm::Controlled {
 public:
  /// Both outlive it.
  MachineControl(vmm::Machine& machine, StormKeeper& storms)
      : machine_(&machine), storms_(&storms) {}

  /// From here on, until close(), `storms` is the socket's. Errors: ControlSocket::open().
  vmm::Result<void> serve(const std::string& path);

  /// Serves no longer. Sleeps until the request that is being worked on has been answered.
  void close() { socket_.reset(); }

  /// A request has ended the machine.
  [[nodiscard]] bool was_shut_down() const {
    return shut_down_.load(std::memory_order_relaxed); // after close(), which joins
  }

  Instance instance() override;

  bool is_paused() override { return machine_->is_paused(); }

  void pause() override { machine_->pause(); }

  void resume() override { machine_->resume(); }

  std::string memory_json() override;

  vmm::BalloonControl* balloon() override { return machine_->balloon(); }

  StormState storm() override { return storms_->state(); }

  vmm::Result<void> start_storm(const StormOrder& order) override { return storms_->start(order); }

  vmm::Result<void> end_storm() override { return storms_->end(); }

  void shut_down() override;

 private:
  vmm::Machine* machine_;
  StormKeeper* storms_;
  vmm::ControlApi api_{*this};
  std::atomic<bool> shut_down_{false};
  std::unique_ptr<vmm::ControlSocket> socket_; // last: ends first
};

} // namespace slat::tool
