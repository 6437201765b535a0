#include "slat.hpp"

#include <algorithm>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <unistd.h>

namespace slat::test {

std::string hello_image() {
  return SLAT_HELLO;
}

bool is_sanitized() {
#ifdef SLAT_SANITIZED
  return true;
#else
  return false;
#endif
}

ProcessOptions slat_process(const std::vector<std::string>& arguments) {
  ProcessOptions options;
  options.arguments = {SLAT_PROGRAM};
  options.arguments.insert(options.arguments.end(), arguments.begin(), arguments.end());
  return options;
}

Ended run_slat(const std::vector<std::string>& arguments) {
  return Process(slat_process(arguments)).finish();
}

std::vector<std::string> boot_hello(const std::string& command_line,
                                    const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"boot",     "--kernel",  hello_image(), "--memory",
                                        "size=16M", "--cmdline", command_line};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

std::string why_no_guest() {
  // Asked of slat itself, once: whatever keeps it from booting is the reason, unless it is a defect.
  static const std::string reason = [] {
    if (access("/dev/kvm", R_OK | W_OK) != 0)
      return std::string("/dev/kvm is missing, or this user may not use it");
    const Ended ended = run_slat(boot_hello("", {"--accel", "kvm"}));
    const bool host = ended.exit_code == 69 || ended.exit_code == 77;
    return host ? "this host cannot run guests: " + ended.err : std::string();
  }();
  return reason;
}

TemporaryDirectory::TemporaryDirectory() {
  std::string name = (std::filesystem::temp_directory_path() / "slat-cli-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) {
    std::perror(name.c_str());
    std::abort();
  }
  path_ = name;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TemporaryDirectory::write(const std::string& name, std::string_view content) const {
  const std::filesystem::path file = path_ / name;
  std::ofstream(file, std::ios::binary) << content;
  return file.string();
}

namespace {

bool is_one_line(const std::string& text) {
  return !text.empty() && text.back() == '\n' && std::count(text.begin(), text.end(), '\n') == 1;
}

MATCHER_P2(Refused, exit_code, words, "is refused with one clear line") {
  if (arg.timed_out) *result_listener << "it timed out; ";
  if (arg.exit_code != exit_code) *result_listener << "exit code is not " << exit_code << "; ";
  if (!is_one_line(arg.err)) *result_listener << "standard error is not one line; ";
  if (!arg.out.empty()) *result_listener << "standard output is not empty; ";
  bool good = !arg.timed_out && arg.exit_code == exit_code && is_one_line(arg.err) &&
              arg.out.empty() && arg.err.rfind("slat: ", 0) == 0;
  for (const std::string& word : words) {
    if (arg.err.find(word) != std::string::npos) continue;
    *result_listener << "'" << word << "' is missing; ";
    good = false;
  }
  return good;
}

} // namespace

testing::Matcher<const Ended&> refused(int exit_code, const std::vector<std::string>& words) {
  return Refused(exit_code, words);
}

void PrintTo(const Ended& ended, std::ostream* stream) {
  *stream << "exit code " << ended.exit_code << (ended.timed_out ? ", timed out" : "")
          << "\n--- standard output\n"
          << ended.out << "--- standard error\n"
          << ended.err << "---";
}

} // namespace slat::test
