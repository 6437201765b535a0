// The hello guest: it boots, prints, and ends with the code of its choice.
#include "machine_host.hpp"

#include "vmm/layout.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <poll.h>

namespace slat::vmm {
namespace {

using testing::HasSubstr;
using Reason = MachineEnd::Reason;

class HelloGuest : public MachineTest {};

TEST_F(HelloGuest, EveryExitCodeReachesTheHost) {
  for (const unsigned code : {0u, 1u, 63u, 64u, 255u}) {
    auto machine =
        make_machine({.kernel = hello_image(), .command_line = fmt::format("exit={}", code)});
    ASSERT_TRUE(machine && machine->start());
    const MachineEnd end = end_of(*machine);
    EXPECT_EQ(end.reason, Reason::exited) << end.report;
    EXPECT_EQ(end.exit_code, code);
  }
}

TEST_F(HelloGuest, ItsBannerMemoryMapAndCommandLineComeThroughTheSerialPort) {
  SerialLog log;
  auto machine = make_machine({.kernel = hello_image(),
                               .command_line = "some words exit=7",
                               .memory = 64 << 20,
                               .serial = log.sink()});
  ASSERT_TRUE(machine && machine->start());
  EXPECT_EQ(end_of(*machine).exit_code, 7u);
  EXPECT_THAT(log.text(), HasSubstr("Hello from a slat guest.\r\n"));
  EXPECT_THAT(log.text(), HasSubstr("command line: some words exit=7\r\n"));
  EXPECT_THAT(log.text(), HasSubstr("0000000003ffffff RAM\r\n")) << "64 MiB end there";
  EXPECT_THAT(log.text(), HasSubstr("hello: exit code 7\r\n"));
  EXPECT_EQ(machine->serial().byte_count(), log.text().size());
  EXPECT_TRUE(machine->serial().first_byte_time());
}

TEST_F(HelloGuest, TheEndedDescriptorIsReadableAfterTheEndAndNotBefore) {
  auto machine = make_machine({.kernel = hello_image(), .command_line = "spin"});
  ASSERT_TRUE(machine && machine->start());
  pollfd ended{machine->ended_fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&ended, 1, 50), 0);
  EXPECT_FALSE(machine->wait_for(std::chrono::milliseconds(0)));
  machine->request_stop();
  EXPECT_EQ(::poll(&ended, 1, 20'000), 1);
  EXPECT_EQ(end_of(*machine).reason, Reason::stopped);
}

TEST_F(HelloGuest, ATripleFaultIsACrashWithAReport) {
  auto machine = make_machine({.kernel = hello_image(), .command_line = "crash=triple"});
  ASSERT_TRUE(machine && machine->start());
  const MachineEnd end = end_of(*machine);
  EXPECT_EQ(end.reason, Reason::crashed);
  EXPECT_THAT(end.report, HasSubstr("vCPU 0: "));
  EXPECT_THAT(end.report, HasSubstr("rip"));
}

TEST_F(HelloGuest, AnExceptionWithHandlersIsTheGuestsOwnAffair) {
  auto machine = make_machine({.kernel = hello_image(), .command_line = "trap=pf"});
  ASSERT_TRUE(machine && machine->start());
  const MachineEnd end = end_of(*machine);
  EXPECT_EQ(end.reason, Reason::exited) << end.report;
  EXPECT_EQ(end.exit_code, guest::exit_exception);
}

TEST_F(HelloGuest, MemoryFromTheLeastToBeyondTheDeviceHole) {
  for (const std::uint64_t size :
       {min_ram_size, min_ram_size + 4096, 128 * mib, 3 * gib, 3 * gib + 4096, 5 * gib}) {
    SerialLog log;
    auto machine = make_machine(
        {.kernel = hello_image(), .command_line = {}, .memory = size, .serial = log.sink()});
    ASSERT_TRUE(machine && machine->start()) << format_size(size);
    EXPECT_EQ(end_of(*machine).reason, Reason::exited) << format_size(size);
    const std::uint64_t last = size <= 3 * gib ? size - 1 : size + gib - 1;
    EXPECT_THAT(log.text(), HasSubstr(fmt::format("-{:#018x}", last))) << format_size(size);
  }
}

TEST_F(HelloGuest, WrongConfigurationsAreRefusedInOneLine) {
  const auto refused = [](MachineConfig config) {
    config.kernel = hello_image();
    const auto machine = Machine::create(std::move(config));
    if (machine) {
      ADD_FAILURE() << "it was not refused";
      return;
    }
    EXPECT_EQ(machine.error().code, Errc::invalid_argument) << machine.error().message;
    EXPECT_EQ(machine.error().message.find('\n'), std::string::npos);
  };
  refused({.kernel = {}, .command_line = {}, .memory = min_ram_size - 4096});
  refused({.kernel = {}, .command_line = {}, .memory = min_ram_size + 1});
  refused({.kernel = {}, .command_line = {}, .cpus = 0});
  refused({.kernel = {}, .command_line = {}, .cpus = 1'000'000});
  refused({.kernel = {}, .command_line = std::string(1 << 20, 'x')});
}

} // namespace
} // namespace slat::vmm
