// TemporaryFile: a file of zeroes, gone at the end.
#pragma once

#include "mmu/assert.hpp"

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace slat::vmm::virtio {

class TemporaryFile {
 public:
  explicit TemporaryFile(std::uint64_t bytes) {
    fd_ = mkstemp(path_.data());
    SLAT_CHECK(fd_ >= 0 && ftruncate(fd_, static_cast<off_t>(bytes)) == 0, "no temporary file");
  }

  ~TemporaryFile() {
    close(fd_);
    unlink(path_.c_str());
  }

  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  [[nodiscard]] std::filesystem::path path() const { return path_; }

  [[nodiscard]] std::vector<std::byte> read(std::uint64_t offset, std::size_t count) const {
    std::vector<std::byte> bytes(count);
    SLAT_CHECK(pread(fd_, bytes.data(), count, static_cast<off_t>(offset)) == ssize_t(count),
               "read");
    return bytes;
  }

  void write(std::uint64_t offset, const std::vector<std::byte>& bytes) const {
    SLAT_CHECK(pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset)) ==
                   ssize_t(bytes.size()),
               "write");
  }

  [[nodiscard]] std::uint64_t size() const { return static_cast<std::uint64_t>(info().st_size); }

  /// Bytes that it takes on the disk.
  [[nodiscard]] std::uint64_t allocated() const {
    fsync(fd_); // some file systems allocate late
    return static_cast<std::uint64_t>(info().st_blocks) * 512;
  }

 private:
  [[nodiscard]] struct stat info() const {
    struct stat result{};
    SLAT_CHECK(fstat(fd_, &result) == 0, "fstat");
    return result;
  }

  std::string path_ = (std::filesystem::temp_directory_path() / "slat-test-XXXXXX").native();
  int fd_ = -1;
};

} // namespace slat::vmm::virtio
