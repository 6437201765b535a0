#include "slat/machine_control.hpp"

#include "slat/stats.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace slat::tool {

vmm::Result<void> MachineControl::serve(const std::string& path) {
  auto socket = vmm::ControlSocket::open(
      path, [this](const vmm::HttpRequest& request) { return api_.answer(request); },
      machine_->config().seccomp);
  if (!socket) return vmm::forward(socket);
  socket_ = std::move(*socket);
  return {};
}

vmm::Controlled::Instance MachineControl::instance() {
  const vmm::MachineConfig& config = machine_->config();
  return {.id = fmt::format("slat-{}", getpid()),
          .version = SLAT_VERSION,
          .vcpus = config.cpus,
          .memory = config.memory,
          .accelerator = std::string(machine_->accelerator().name()),
          .vma_lock = std::string(mmu::to_string(config.vma_lock))};
}

std::string MachineControl::memory_json() {
  return collect_stats(*machine_).dump();
}

void MachineControl::shut_down() {
  shut_down_.store(true, std::memory_order_relaxed); // see was_shut_down()
  machine_->request_stop();
}

} // namespace slat::tool
