// BlockImage: a raw disk image in a file or a block device of the host.
#pragma once

#include "kvm/fd.hpp"
#include "vmm/error.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace slat::vmm::virtio {

/// Any thread, several at once. All sleep. Errors: host_failed, with errno.
class BlockImage {
 public:
  /// The image is locked (flock) while it is open: alone, or with other readers if `read_only`. Errors: no_such_file,
  /// no_permission, host_unavailable (somebody has it locked), bad_image (empty, or not in whole sectors of 512 bytes).
  static Result<BlockImage> open(const std::filesystem::path& path, bool read_only);

  /// A multiple of 512.
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

  [[nodiscard]] bool read_only() const { return read_only_; }

  /// All of [offset, offset + data.size()), which is in the image.
  Result<void> read(std::uint64_t offset, std::span<std::byte> data) const;
  Result<void> write(std::uint64_t offset, std::span<const std::byte> data) const;
  /// What has been written is on the disk (fdatasync).
  Result<void> flush() const;
  /// Gives the range back to the host's file system, where it can take it; reads as zero, where it did. No error if not.
  Result<void> discard(std::uint64_t offset, std::uint64_t length) const;
  /// The range reads as zero; `may_free`: it may be given back.
  Result<void> write_zeroes(std::uint64_t offset, std::uint64_t length, bool may_free) const;

 private:
  BlockImage(kvm::Fd fd, std::uint64_t bytes, bool read_only)
      : fd_(std::move(fd)), bytes_(bytes), read_only_(read_only) {}

  kvm::Fd fd_;
  std::uint64_t bytes_;
  bool read_only_;
};

} // namespace slat::vmm::virtio
