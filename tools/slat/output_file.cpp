#include "slat/output_file.hpp"

#include "vmm/printable.hpp"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <unistd.h>

namespace slat::tool {

vmm::Result<void> OutputFile::open() {
  file_ = std::fopen(path_.c_str(), "ae");
  return file_ != nullptr ? vmm::Result<void>() : failed(errno);
}

vmm::Result<void> OutputFile::write(std::string_view content) {
  const bool empty = ftruncate(fileno(file_), 0) == 0 || errno == EINVAL; // a pipe cannot be cut
  const bool good = empty &&
                    std::fwrite(content.data(), 1, content.size(), file_) == content.size() &&
                    std::fflush(file_) == 0;
  return good ? vmm::Result<void>() : failed(errno);
}

vmm::Result<void> OutputFile::failed(int error) const {
  const bool refused = error == EACCES || error == EPERM || error == EROFS;
  return vmm::fail(refused ? vmm::Errc::no_permission : vmm::Errc::host_failed, error,
                   fmt::format("{} {}: cannot write it: {}; name another file", option_,
                               vmm::printable(path_), std::strerror(error)));
}

} // namespace slat::tool
