// OutputFile: a file that is opened before the guest starts, so that nobody waits for a refusal, and written at the end.
#pragma once

#include "vmm/error.hpp"

#include <cstdio>
#include <string>
#include <string_view>

namespace slat::tool {

class OutputFile {
 public:
  /// `option` is what messages name it by: "--picture".
  OutputFile(std::string option, std::string path)
      : option_(std::move(option)), path_(std::move(path)) {}

  ~OutputFile() {
    if (file_ != nullptr) std::fclose(file_);
  }

  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  /// Keeps what is in it. Errors: no_permission, host_failed.
  vmm::Result<void> open();
  /// In the place of what is in it. Any thread, also one that may open nothing; one at a time; may sleep. Errors:
  /// no_permission, host_failed.
  vmm::Result<void> write(std::string_view content);

 private:
  vmm::Result<void> failed(int error) const;

  const std::string option_;
  const std::string path_;
  std::FILE* file_ = nullptr;
};

} // namespace slat::tool
