// Running the slat program under test, and what its messages must look like.
#pragma once

#include "process.hpp"

#include <filesystem>
#include <gmock/gmock.h>
#include <string>
#include <string_view>
#include <vector>

namespace slat::test {

/// Path of the guest image hello.elf of this build.
[[nodiscard]] std::string hello_image();

/// The options for `slat ARGUMENTS...`.
[[nodiscard]] ProcessOptions slat_process(const std::vector<std::string>& arguments);

/// Runs `slat ARGUMENTS...` to its end.
[[nodiscard]] Ended run_slat(const std::vector<std::string>& arguments);

/// Boots hello with a small memory and this command line.
[[nodiscard]] std::vector<std::string> boot_hello(const std::string& command_line,
                                                  const std::vector<std::string>& more = {});

/// True in builds whose program reserves terabytes of address space.
[[nodiscard]] bool is_sanitized();

/// Why no guest can run on KVM here; empty if one can.
[[nodiscard]] std::string why_no_guest();

#define SLAT_NEEDS_GUEST()                                                                         \
  if (const std::string why = ::slat::test::why_no_guest(); !why.empty()) GTEST_SKIP() << why

/// A directory that is gone when the test is over.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

  /// Writes a file and returns its path.
  [[nodiscard]] std::string write(const std::string& name, std::string_view content) const;

 private:
  std::filesystem::path path_;
};

/// An Ended with this exit code whose standard error is exactly one line, "slat: ...", that contains all the words, and
/// whose standard output is empty.
testing::Matcher<const Ended&> refused(int exit_code, const std::vector<std::string>& words);

void PrintTo(const Ended& ended, std::ostream* stream);

} // namespace slat::test
