#include "machine_host.hpp"

#include "guests/mailbox_copy.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

namespace slat::vmm {

Serial::Sink SerialLog::sink() {
  return [this](std::span<const char> bytes) {
    const std::lock_guard lock(mutex_);
    text_.append(bytes.data(), bytes.size());
  };
}

std::string SerialLog::text() const {
  const std::lock_guard lock(mutex_);
  return text_;
}

Accel tested_accelerator() {
  const char* const name = std::getenv("SLAT_TEST_ACCEL");
  return name != nullptr && std::string_view(name) == "soft" ? Accel::soft : Accel::kvm;
}

std::unique_ptr<Machine> make_machine(MachineConfig config) {
  if (config.accel == Accel::automatic) config.accel = tested_accelerator();
  // CTest runs some of the tests once for each design.
  if (const char* const name = std::getenv("SLAT_TEST_VMA_LOCK")) {
    const auto design = mmu::vma_lock_design(name);
    EXPECT_TRUE(design) << name;
    if (design) config.vma_lock = *design;
  }
  auto machine = Machine::create(std::move(config));
  if (machine) return std::move(*machine);
  ADD_FAILURE() << machine.error().message;
  return nullptr;
}

std::unique_ptr<Machine> make_memstress(SerialLog& log, MachineConfig config) {
  config.kernel = memstress_image();
  config.serial = log.sink();
  return make_machine(std::move(config));
}

MachineEnd end_of(Machine& machine, unsigned seconds) {
  if (auto end = machine.wait_for(std::chrono::seconds(seconds))) return *end;
  ADD_FAILURE() << "the machine has not ended after " << seconds << " s";
  machine.request_stop();
  return machine.wait_for(std::chrono::seconds(seconds)).value_or(MachineEnd{});
}

guest::Mailbox mailbox_of(Machine& machine) {
  auto pin = machine.ram().pin(machine.kernel().notes.mailbox.value(), sizeof(guest::Mailbox),
                               mmu::vm_read);
  EXPECT_TRUE(pin) << pin.error().message;
  return pin ? guest::copy_of(*reinterpret_cast<const guest::Mailbox*>(pin->bytes().data()))
             : guest::Mailbox{};
}

void ask_to_stop(Machine& machine) {
  const std::uint32_t yes = 1;
  const Gpa page = machine.kernel().notes.mailbox.value();
  const auto written = machine.ram().write(page + offsetof(guest::Mailbox, stop_request),
                                           std::as_bytes(std::span(&yes, 1)));
  EXPECT_TRUE(written) << written.error().message;
}

bool wait_until_running(Machine& machine) {
  for (int i = 0; i < 4000; ++i) {
    const auto state = guest::GuestState(mailbox_of(machine).state);
    if (state == guest::GuestState::running) return true;
    if (machine.wait_for(std::chrono::milliseconds(5))) return false;
  }
  return false;
}

Resources resources_now() {
  Resources now{};
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", ignored))
    now.descriptors += entry.path().empty() ? 0 : 1;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task", ignored))
    now.threads += entry.path().empty() ? 0 : 1;
  // Only what is ours: heaps and arenas come and go.
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);)
    now.mappings += line.find("slat-ram") != line.npos || line.find("kvm-vcpu") != line.npos;
  return now;
}

void MachineTest::SetUp() {
  static const std::string reason = [] {
    const auto machine = Machine::create({.kernel = hello_image(),
                                          .command_line = {},
                                          .memory = 4 << 20,
                                          .accel = tested_accelerator()});
    if (machine) return std::string();
    const Errc code = machine.error().code;
    const bool lacking = code == Errc::host_unavailable || code == Errc::no_permission;
    return lacking ? machine.error().message : std::string();
  }();
  if (!reason.empty()) GTEST_SKIP() << reason;
}

} // namespace slat::vmm
