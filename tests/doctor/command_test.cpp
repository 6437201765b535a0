// `slat doctor` as a user runs it.
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace {

using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;

struct Ran {
  int code = -1; // 128 + signal if that ended it
  std::string out;
};

constexpr uid_t nobody = 65534;

Ran run_doctor(std::vector<std::string> arguments, bool as_nobody = false) {
  // Opened before privileges go: the build folder may be closed to others.
  const int program = ::open(SLAT_COMMAND, O_RDONLY | O_CLOEXEC);
  int ends[2];
  if (program < 0 || ::pipe2(ends, O_CLOEXEC) != 0) return {};
  arguments.insert(arguments.begin(), {"slat", "doctor"});
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(30); // survives exec: a doctor that hangs dies, and the test with it fails
    if (as_nobody && (::setgroups(0, nullptr) != 0 || ::setresgid(nobody, nobody, nobody) != 0 ||
                      ::setresuid(nobody, nobody, nobody) != 0))
      ::_exit(126);
    ::dup2(ends[1], STDOUT_FILENO);
    ::fexecve(program, argv.data(), environ);
    ::_exit(127);
  }
  ::close(program);
  ::close(ends[1]);
  Ran ran;
  char buffer[4096];
  for (;;) {
    const ssize_t count = ::read(ends[0], buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    ran.out.append(buffer, std::size_t(count));
  }
  ::close(ends[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  ran.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return ran;
}

void expect_report(const std::string& text) {
  std::istringstream in(text);
  int count = 0;
  for (std::string line; std::getline(in, line); ++count) {
    EXPECT_THAT(line.substr(0, line.find(' ')), AnyOf("ok", "degraded", "missing", "")) << line;
    EXPECT_LE(line.size(), 80u) << line;
  }
  EXPECT_GT(count, 15);
  EXPECT_THAT(text, HasSubstr("slat can: boot own guests"));
}

TEST(DoctorCommand, SaysWhatThisHostOffers) {
  const Ran ran = run_doctor({});
  EXPECT_THAT(ran.code, AnyOf(0, 69, 77));
  expect_report(ran.out);
  // The exit code and the words are the same message.
  EXPECT_EQ(ran.code != 0, ran.out.find("missing ") != std::string::npos) << ran.out;
  EXPECT_THAT(ran.out, Not(HasSubstr("\x1b"))) << "colours into a pipe";
}

TEST(DoctorCommand, JsonIsOneObjectWithTheSameExitCode) {
  const Ran ran = run_doctor({"--json"});
  const auto json = nlohmann::json::parse(ran.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << ran.out;
  EXPECT_EQ(json["exit_code"], ran.code);
  EXPECT_GT(json["checks"].size(), 15u);
}

TEST(DoctorCommand, AMissingDeviceIs69AndNamesTheMend) {
  const Ran ran = run_doctor({"--kvm-device", "/nonexistent"});
  EXPECT_EQ(ran.code, 69);
  expect_report(ran.out);
  EXPECT_THAT(ran.out, HasSubstr("missing   kvm          /nonexistent: "));
  EXPECT_THAT(ran.out, HasSubstr("mend: check --kvm-device; the usual path is /dev/kvm"));
  EXPECT_THAT(ran.out, HasSubstr("boot own guests no (in software yes)"));
}

TEST(DoctorCommand, APathThatIsNotUtf8IsStillJson) {
  const Ran ran = run_doctor({"--json", "--kvm-device",
                              "/non\xff"
                              "existent"});
  EXPECT_EQ(ran.code, 69);
  EXPECT_TRUE(nlohmann::json::accept(ran.out)) << ran.out;
}

TEST(DoctorCommand, AnotherDeviceIs69) {
  const Ran ran = run_doctor({"--kvm-device", "/dev/null"});
  EXPECT_EQ(ran.code, 69);
  EXPECT_THAT(ran.out, HasSubstr("not a KVM device"));
}

TEST(DoctorCommand, NobodyGetsASensibleAnswer) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become nobody";
  const Ran ran = run_doctor({}, true);
  EXPECT_THAT(ran.code, AnyOf(0, 69, 77)) << ran.out;
  expect_report(ran.out);
  const Ran root = run_doctor({});
  if (root.code != 0 || ran.code == 0) GTEST_SKIP() << "nobody lacks no permission here";
  // What root has and nobody has not is a matter of permission alone.
  EXPECT_EQ(ran.code, 77) << ran.out;
  EXPECT_THAT(ran.out, HasSubstr("mend: "));
}

TEST(DoctorCommand, HelpListsTheExitCodes) {
  const Ran ran = run_doctor({"--help"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_THAT(ran.out, HasSubstr("--kvm-device"));
  EXPECT_THAT(ran.out, HasSubstr("69"));
}

} // namespace
