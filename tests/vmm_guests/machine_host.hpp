// Machines for tests: made in one line, with their serial output kept, and never waited for without an end.
#pragma once

#include "guests/abi.hpp"
#include "guests/builtin.hpp"
#include "vmm/machine.hpp"

#include <chrono>
#include <gtest/gtest.h>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace slat::vmm {

/// What a guest printed. Thread-safe.
class SerialLog {
 public:
  [[nodiscard]] Serial::Sink sink();
  [[nodiscard]] std::string text() const;

 private:
  mutable std::mutex mutex_;
  std::string text_;
};

inline BuiltinImage hello_image() {
  return {guest::builtin_hello(), "hello"};
}

inline BuiltinImage memstress_image() {
  return {guest::builtin_memstress(), "memstress"};
}

/// CTest runs the tests of whole machines on each: SLAT_TEST_ACCEL says which.
[[nodiscard]] Accel tested_accelerator();

/// A machine that works, on the tested accelerator unless the configuration names one, or nullptr and a failure of the test.
[[nodiscard]] std::unique_ptr<Machine> make_machine(MachineConfig config);

/// The same with the memstress image, which prints to `log`.
[[nodiscard]] std::unique_ptr<Machine> make_memstress(SerialLog& log, MachineConfig config);

/// The end of the run, or a failure of the test and "stopped" once `seconds` have passed.
[[nodiscard]] MachineEnd end_of(Machine& machine, unsigned seconds = 30);

/// A sample of the mailbox of a memstress guest.
[[nodiscard]] guest::Mailbox mailbox_of(Machine& machine);

/// Has a memstress guest finish its page, verify and exit.
void ask_to_stop(Machine& machine);

/// Sleeps until the guest's work has begun; false if it has not after 20 s.
[[nodiscard]] bool wait_until_running(Machine& machine);

/// Open descriptors, lines of /proc/self/maps and threads of this process.
struct Resources {
  std::size_t descriptors;
  std::size_t mappings;
  std::size_t threads;
};

[[nodiscard]] Resources resources_now();

/// Skips where no machine can be made for want of KVM, userfaultfd or permission.
class MachineTest : public testing::Test {
 protected:
  void SetUp() override;
};

} // namespace slat::vmm
