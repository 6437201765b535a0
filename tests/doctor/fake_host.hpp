// A host made of files in a temporary folder, and the facts of a host that lacks nothing.
#pragma once

#include "slat/doctor_facts.hpp"
#include "slat/doctor_report.hpp"

#include <filesystem>
#include <string>
#include <string_view>

namespace slat::tool {

class FakeHost {
 public:
  FakeHost();
  ~FakeHost();
  FakeHost(const FakeHost&) = delete;
  FakeHost& operator=(const FakeHost&) = delete;

  /// Writes a file, and the folders above it. `file` is like "proc/meminfo".
  void put(const std::string& file, std::string_view content) const;
  [[nodiscard]] HostPaths paths() const;

 private:
  std::filesystem::path root_;
};

[[nodiscard]] HostFacts perfect_facts();

/// The check, or nullptr.
[[nodiscard]] const Check* find(const Report& report, std::string_view area, std::string_view name);

} // namespace slat::tool
