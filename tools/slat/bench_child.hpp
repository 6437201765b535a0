// Runs this very program anew, with other arguments, and watches its standard output.
#pragma once

#include "vmm/error.hpp"

#include <span>
#include <string>
#include <vector>

namespace slat::tool {

struct ChildRun {
  double first_byte_ms =
      0; // from before fork() to the first byte of output; to the end, if there was none
  double end_ms = 0; // to the end of the process
  std::string output;
  int exit_code = 0; // 128 + signal, if one ended it
};

/// Starts vmm_program() with `arguments`, its standard error at /dev/null, and waits for its end. Open descriptors without
/// FD_CLOEXEC are the child's too. Errors: host_limit, host_failed.
vmm::Result<ChildRun> run_slat(const std::vector<std::string>& arguments);

/// The built-in memstress image as a file that children can open, while this lives.
class ImageForChildren {
 public:
  ImageForChildren();
  ~ImageForChildren();
  ImageForChildren(const ImageForChildren&) = delete;
  ImageForChildren& operator=(const ImageForChildren&) = delete;

  /// As children see it; empty if the host refused.
  [[nodiscard]] std::string path() const;

 private:
  int fd_;
};

} // namespace slat::tool
