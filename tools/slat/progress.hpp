// A progress line on standard error: rewritten in place on a terminal, a line now and then elsewhere.
#pragma once

#include <chrono>
#include <string>

namespace slat::tool {

class Progress {
 public:
  Progress();

  /// Clears the line.
  ~Progress() { clear(); }

  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Shows the line, cut to the terminal's width; elsewhere only if the last one is `quiet_interval` old.
  void show(const std::string& line);
  /// Takes the line off the terminal, so that other output can be printed.
  void clear();

  static constexpr std::chrono::seconds quiet_interval{5};

 private:
  bool terminal_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point last_;
};

} // namespace slat::tool
