// Reads the files that a guest starts from: kernels and initial RAM disks.
#pragma once

#include "vmm/error.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>

namespace slat::vmm {

/// Larger files are refused before they are read.
inline constexpr std::uint64_t max_image_file_size = std::uint64_t{4} << 30;

struct UnmapImage {
  std::size_t size = 0;
  void operator()(std::byte* pages) const;
};

struct ImageFile {
  /// Pages of their own: an allocator would keep them a while, and a kernel is more than all else that slat needs.
  std::unique_ptr<std::byte[], UnmapImage> data;
  std::uint64_t size = 0;

  [[nodiscard]] std::span<const std::byte> bytes() const { return {data.get(), size}; }
};

/// The whole file. `what` it is ("kernel", "initrd") is for messages. It is read, not mapped: one that shrinks while it is
/// in use would end a mapping's reader with SIGBUS. Errors: no_such_file where it is missing, unreadable or not a regular
/// file; no_permission where this user may not read it; bad_image where it is too large; host_limit. May sleep.
[[nodiscard]] Result<ImageFile> read_image_file(const std::filesystem::path& path,
                                                std::string_view what);

} // namespace slat::vmm
