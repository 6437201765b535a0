// --api-socket and slat ctl: a run is asked and told from outside, and nothing that comes over the socket harms it.
#include "slat.hpp"

#include "raw_client.hpp"

#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <thread>

namespace slat::test {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

class Api : public testing::Test {
 protected:
  /// `slat stress` in software, without an end of its own.
  std::vector<std::string> stress(const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {"stress",    "--accel", "soft",         "--memory", "16M",
                                          "--seconds", "600",     "--api-socket", socket_};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  /// Starts it, and sleeps until it serves its socket.
  void start(const std::vector<std::string>& arguments) {
    process_ = std::make_unique<Process>(slat_process(arguments));
    ASSERT_TRUE(eventually([&] { return RawClient(socket_).connected(); }));
  }

  /// False if it has not come true within 60 s.
  static bool eventually(const std::function<bool()>& holds) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!holds()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return true;
  }

  Ended ctl(const std::vector<std::string>& command) {
    std::vector<std::string> arguments = {"ctl", "--api-socket", socket_};
    arguments.insert(arguments.end(), command.begin(), command.end());
    return run_slat(arguments);
  }

  void expect_done(const std::vector<std::string>& command) {
    const Ended ended = ctl(command);
    EXPECT_EQ(ended.exit_code, 0) << ended.err;
    EXPECT_EQ(ended.err, "");
    EXPECT_NE(ended.out, "");
  }

  /// The JSON object that a command gives, which succeeds.
  json ask(std::vector<std::string> command) {
    command.emplace_back("--json");
    const Ended ended = ctl(command);
    EXPECT_EQ(ended.exit_code, 0) << ended.err;
    json answer = json::parse(ended.out, nullptr, false);
    EXPECT_TRUE(answer.is_object()) << ended.out;
    return answer.is_object() ? answer : json::object();
  }

  std::uint64_t faults() { return ask({"memory"}).value("stage2_fault_count", std::uint64_t(0)); }

  std::uint64_t ranges() { return ask({"storm"}).value("ranges", std::uint64_t(0)); }

  [[nodiscard]] std::string state() { return ask({"status"}).value("state", ""); }

  /// The run ends with exit code 0 and leaves nothing behind.
  Ended shut_down() {
    expect_done({"shutdown"});
    Ended ended = process_->finish();
    EXPECT_EQ(ended.exit_code, 0) << ended.err;
    EXPECT_FALSE(std::filesystem::exists(socket_));
    return ended;
  }

  TemporaryDirectory directory_;
  std::string socket_ = directory_.path() / "api";
  std::unique_ptr<Process> process_;
};

TEST_F(Api, TheSocketIsForTheOwnerAloneAndGoneAtTheEnd) {
  ProcessOptions options = slat_process(stress());
  options.prepare = [] {
    umask(0);
    return true;
  };
  process_ = std::make_unique<Process>(options);
  struct stat info{};
  ASSERT_TRUE(eventually([&] { return lstat(socket_.c_str(), &info) == 0; }));
  EXPECT_TRUE(S_ISSOCK(info.st_mode));
  EXPECT_EQ(info.st_mode & 07777, 0600u);
  ASSERT_TRUE(eventually([&] { return RawClient(socket_).connected(); }));
  shut_down();
}

TEST_F(Api, StatusSaysWhatMachineItIs) {
  start(stress({"--cpus", "3"}));
  const json status = ask({"status"});
  EXPECT_EQ(status.value("app_name", ""), "slat");
  EXPECT_EQ(status.value("state", ""), "Running");
  EXPECT_THAT(status.value("id", ""), StartsWith("slat-"));
  EXPECT_EQ(status.value("vcpu_count", 0), 3);
  EXPECT_EQ(status.value("mem_size_mib", 0), 16);
  EXPECT_EQ(status.value("accelerator", ""), "soft");
  EXPECT_THAT(ctl({"status"}).out, testing::ContainsRegex("state +Running\n"));
  EXPECT_THAT(ctl({"memory"}).out, testing::ContainsRegex("guest_memory_bytes +16777216\n"));
  shut_down();
}

TEST_F(Api, AGuestThatIsPausedStandsStillUntilItIsResumed) {
  start(stress({"--storm", "zap", "--cpus", "2"}));
  const std::uint64_t first = faults();
  ASSERT_TRUE(eventually([&] { return faults() > first; }));
  for (int round = 0; round < 2; ++round) {
    expect_done({"pause"});
    expect_done({"pause"}); // as often as one likes
    EXPECT_EQ(state(), "Paused");
    const std::uint64_t before = faults();
    const std::uint64_t taken = ranges();
    ASSERT_TRUE(eventually([&] { return ranges() > taken + 100; })) << "the host goes on";
    EXPECT_EQ(faults(), before) << "every page was taken away, and nobody has missed one";
    expect_done({"resume"});
    EXPECT_EQ(state(), "Running");
    EXPECT_TRUE(eventually([&] { return faults() > before; }));
  }
  EXPECT_THAT(shut_down().out, HasSubstr("slat stress: SHUT DOWN"));
}

TEST_F(Api, AStormComesAndGoesAndTheVerdictCountsItAll) {
  start(stress({"--stats", "json"}));
  EXPECT_FALSE(ask({"storm"}).value("running", true));
  for (const char* kinds : {"zap,reclaim", "all"}) {
    expect_done({"storm", kinds, "--rate", "5000", "--pages", "64"});
    EXPECT_EQ(ask({"storm"}).value("kinds", ""), kinds);
    EXPECT_EQ(ask({"storm"}).value("rate", 0), 5000);
    ASSERT_TRUE(eventually([&] { return ranges() > 50; }));
    expect_done({"storm", "off"});
    EXPECT_FALSE(ask({"storm"}).value("running", true));
    const std::uint64_t done = ranges();
    EXPECT_EQ(ranges(), done);
  }
  const Ended ended = shut_down();
  const json stats = json::parse(ended.out, nullptr, false);
  ASSERT_TRUE(stats.is_object()) << ended.out;
  EXPECT_EQ(stats.value("verdict", ""), "SHUT DOWN");
  EXPECT_EQ(stats.value("exit_code", -1), 0);
  EXPECT_EQ(stats.value("mismatch_count", 1), 0);
  std::uint64_t sum = 0;
  for (const auto& [kind, count] : stats["storm_ranges"].items()) sum += count.get<std::uint64_t>();
  EXPECT_GT(sum, 100u) << "both of them";
}

TEST_F(Api, ThereIsOneStormAtATimeWhoeverHasStartedIt) {
  start(stress({"--storm", "cold"}));
  EXPECT_THAT(ctl({"storm", "zap"}), refused(1, {"a storm is running already"}));
  EXPECT_EQ(ask({"storm"}).value("kinds", ""), "cold");
  expect_done({"storm", "off"});
  EXPECT_THAT(ctl({"storm", "off"}), refused(1, {"no storm is running"}));
  EXPECT_THAT(ctl({"storm", "rain"}), refused(1, {"no storm 'rain'"}));
  expect_done({"storm", "zap"});
  shut_down(); // with the storm on
}

TEST_F(Api, WithoutABalloonItSaysSo) {
  start(stress());
  EXPECT_THAT(ctl({"balloon"}), refused(1, {"no balloon device"}));
  EXPECT_THAT(ctl({"balloon", "8M"}), refused(1, {"no balloon device"}));
  EXPECT_THAT(ctl({"balloon-stats"}), refused(1, {"no balloon device"}));
  EXPECT_THAT(ctl({"balloon", "5000"}), refused(64, {"whole MiB"}));
  shut_down();
}

TEST_F(Api, SignalsEndAPausedMachineInGoodOrder) {
  for (const int signal : {SIGINT, SIGTERM}) {
    start(stress());
    expect_done({"pause"});
    process_->send(signal);
    const Ended ended = process_->finish();
    EXPECT_EQ(ended.exit_code, 128 + signal) << ended.err;
    EXPECT_THAT(ended.out, HasSubstr("INTERRUPTED"));
    EXPECT_FALSE(process_->leaves_processes());
    EXPECT_FALSE(std::filesystem::exists(socket_));
  }
}

TEST_F(Api, AShutdownEndsAPausedBootToo) {
  start(boot_hello("spin", {"--accel", "soft", "--api-socket", socket_, "--storm", "zap"}));
  ASSERT_TRUE(process_->wait_for_output("spin"));
  expect_done({"pause"});
  const Ended ended = shut_down();
  EXPECT_THAT(ended.err, AllOf(HasSubstr("storm: "), testing::Not(HasSubstr("error"))));
}

TEST_F(Api, AGuestThatEndsByItselfKeepsItsExitCode) {
  const Ended ended = run_slat(boot_hello("exit=7", {"--accel", "soft", "--api-socket", socket_}));
  EXPECT_EQ(ended.exit_code, 7) << ended.err;
  EXPECT_FALSE(std::filesystem::exists(socket_));
}

TEST_F(Api, TheSocketOfAKilledRunIsReplacedByTheNextOne) {
  start(stress());
  process_->send(SIGKILL);
  EXPECT_EQ(process_->finish().exit_code, 128 + SIGKILL);
  ASSERT_TRUE(std::filesystem::exists(socket_));
  EXPECT_THAT(ctl({"status"}), refused(69, {"nobody listens", socket_}));
  start(stress());
  EXPECT_EQ(state(), "Running");
  shut_down();
}

TEST_F(Api, APathThatIsTakenIsRefusedAndLeftAlone) {
  start(stress());
  EXPECT_THAT(run_slat(stress()), refused(64, {socket_, "in use"}));
  EXPECT_EQ(state(), "Running") << "the first one does not mind";
  shut_down();
  const std::string file = directory_.write("file", "precious");
  const auto with_path = [](const std::string& path) {
    return run_slat({"stress", "--accel", "soft", "--memory", "16M", "--api-socket", path});
  };
  EXPECT_THAT(with_path(file), refused(64, {"is no socket"}));
  EXPECT_EQ(std::filesystem::file_size(file), 8u);
  EXPECT_THAT(with_path("/tmp/" + std::string(200, 'x')), refused(64, {"205 bytes", "1 to 107"}));
  EXPECT_THAT(with_path(directory_.path() / "none" / "api"), refused(66, {"none/api"}));
  EXPECT_THAT(with_path(""), refused(64, {"--api-socket"}));
}

TEST_F(Api, WhatIsMalformedOversizedOrSlowHarmsNobody) {
  start(stress());
  RawClient slow(socket_);
  slow.send("PATCH /vm HTTP/1.1\r\nContent-Le");
  const std::string large(100'000, 'x');
  for (const auto& [bytes, status] : std::vector<std::pair<std::string, std::string>>{
           {std::string("\0\xff\xfe\n\n", 5), "400"},
           {"GET /\r\n\r\n", "400"},
           {"PATCH /vm HTTP/1.1\r\nContent-Length: 18\r\nConnection: "
            "close\r\n\r\n{\"state\":\"Pause"
            "d\"]",
            "400"},
           {"PATCH /vm HTTP/1.1\r\n\r\n", "411"},
           {"PATCH /vm HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + large, "413"},
           {"GET /" + large + " HTTP/1.1\r\n\r\n", "414"},
           {"GET / HTTP/1.1\r\n" + large + ": x\r\n\r\n", "431"},
           {"BREW / HTTP/1.1\r\n\r\n", "501"},
           {"POST /vm HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", "405"},
           {"GET /../etc/passwd HTTP/1.1\r\nConnection: close\r\n\r\n", "404"}}) {
    RawClient client(socket_);
    client.send(bytes); // it need not take all of it
    EXPECT_THAT(client.read_to_end(),
                AllOf(StartsWith("HTTP/1.1 " + status), HasSubstr("fault_message")))
        << bytes.substr(0, 60);
    EXPECT_TRUE(client.ended());
    EXPECT_THAT(get_once(socket_, "/"), HasSubstr("\"state\":\"Running\""));
  }
  EXPECT_THAT(slow.read_to_end(), StartsWith("HTTP/1.1 408 "));
  EXPECT_EQ(state(), "Running");
  shut_down();
}

TEST_F(Api, CtlSaysWhyItGetsNoAnswer) {
  EXPECT_THAT(ctl({"status"}), refused(66, {"no control socket", "--api-socket"}));
  EXPECT_THAT(run_slat({"ctl", "--api-socket", std::string(200, 'x'), "status"}),
              refused(64, {"200 bytes"}));
  // Somebody who listens and is no slat.
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket_.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(listen(listener, 4), 0);
  EXPECT_THAT(ctl({"status", "--timeout", "1"}), refused(69, {"no answer", "within 1 s"}));
  close(accept(listener, nullptr, nullptr));
  std::thread stranger([&] {
    const int client = accept(listener, nullptr, nullptr);
    (void)!write(client, "SSH-2.0-OpenSSH_9\r\n\r\n", 21);
    shutdown(client, SHUT_WR);
    char rest[256];
    while (read(client, rest, sizeof rest) > 0) {
    }
    close(client);
  });
  EXPECT_THAT(ctl({"status"}), refused(69, {"is not the control socket of a slat"}));
  stranger.join();
  close(listener);
}

TEST(CtlOptions, ThatAreWrongAreRefusedBeforeAnythingIsAsked) {
  EXPECT_THAT(run_slat({"ctl"}), refused(64, {"status, memory, balloon"}));
  EXPECT_THAT(run_slat({"ctl", "status"}), refused(64, {"--api-socket"}));
  EXPECT_THAT(run_slat({"ctl", "--api-socket", "x", "fly"}), refused(64, {"fly"}));
  EXPECT_THAT(run_slat({"ctl", "--api-socket", "x", "storm", "zap", "--rate", "0"}),
              refused(64, {"--rate"}));
  EXPECT_THAT(run_slat({"ctl", "--api-socket", "x", "storm", "--rate", "5"}),
              refused(64, {"--rate"}));
}

} // namespace
} // namespace slat::test
