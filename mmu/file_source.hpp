// Page sources over files. FileSource: a private copy of a file's content. SharedSource: the backing is
// the file (Backing::create_shared), so that the content is there already.
#pragma once

#include "mmu/error.hpp"
#include "mmu/page_source.hpp"

#include <memory>
#include <string>

namespace slat::mmu {

/// Page n of the backing is what the file has from offset + n * page_size on; what lies behind the end
/// that the file had when it was opened is zeroes, in a partial last page too. A file that has become
/// shorter since, or that cannot be read, poisons the page (I41).
class FileSource final : public PageSource {
 public:
  /// `offset` in bytes, of any alignment, not beyond the end of the file. Errc::os_failed,
  /// Errc::invalid_argument, Errc::no_memory. May sleep.
  static Result<std::unique_ptr<FileSource>> open(const std::string& path,
                                                  std::uint64_t offset = 0);

  ~FileSource() override;
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;

  FillResult fill(Backing& backing, PageRun run) override;

  [[nodiscard]] bool may_sleep() const override { return true; }

  [[nodiscard]] std::string_view name() const override { return "file"; }

  /// From the offset to the end of the file, when it was opened.
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

 private:
  FileSource(int fd, std::uint64_t offset, std::uint64_t bytes)
      : fd_(fd), offset_(offset), bytes_(bytes) {}

  int fd_;
  std::uint64_t offset_;
  std::uint64_t bytes_;
};

/// Makes sure that the pages can be accessed: those of a memfd are allocated, those of a file on a disk
/// are read in.
class SharedSource final : public PageSource {
 public:
  explicit SharedSource(bool in_memory) : in_memory_(in_memory) {}

  FillResult fill(Backing& backing, PageRun run) override;

  [[nodiscard]] bool may_sleep() const override { return !in_memory_; }

  [[nodiscard]] std::string_view name() const override { return "shared"; }

 private:
  bool in_memory_;
};

} // namespace slat::mmu
