// Memory that comes from files: a private copy, the file itself, somebody else's memfd.
#include "mmu/file_source.hpp"

#include "support.hpp"

#include <cstdlib>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace slat::mmu {
namespace {

using testing::byte_at;

constexpr std::size_t file_bytes = 3 * page_size + 100; // a partial last page

std::byte byte_of(std::size_t offset) {
  return std::byte(1 + offset % 251);
}

struct FileTest : ::testing::Test {
  std::string path = ::testing::TempDir() + "slat-file-XXXXXX";
  int fd = -1; // the test's own
  Counters counters;
  std::unique_ptr<AddressSpace> mm = testing::make_mm(counters);
  testing::Translations translations{*mm};
  BackingRef backing;

  void SetUp() override {
    fd = mkstemp(path.data());
    ASSERT_GE(fd, 0);
    write_pattern(fd);
  }

  void TearDown() override {
    close(fd);
    unlink(path.c_str());
  }

  static void write_pattern(int file) {
    std::vector<std::byte> bytes(file_bytes);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = byte_of(i);
    ASSERT_EQ(pwrite(file, bytes.data(), bytes.size(), 0), ssize_t(bytes.size()));
  }

  void make_private(std::uint64_t offset = 0) {
    auto source = FileSource::open(path, offset);
    ASSERT_TRUE(source) << testing::why(source);
    auto created = Backing::create("slat-test-file", 5 * page_size, std::move(*source));
    ASSERT_TRUE(created);
    backing.reset(*created);
  }

  void make_shared(int file) {
    auto created = Backing::create_shared("slat-test-shared", file);
    ASSERT_TRUE(created) << testing::why(created);
    backing.reset(*created);
  }

  std::uintptr_t map() {
    auto at = mm->map({.length = backing->pages() << page_shift, .backing = backing.get()});
    EXPECT_TRUE(at) << testing::why(at);
    return *at;
  }

  std::byte read(std::uintptr_t address) {
    std::byte byte{0xee};
    EXPECT_TRUE(translations->read(address, {&byte, 1}).result);
    return byte;
  }

  void write(std::uintptr_t address, std::byte byte) {
    EXPECT_TRUE(translations->write(address, {&byte, 1}).result);
  }

  std::byte in_file(std::size_t offset) {
    std::byte byte{0xee};
    EXPECT_EQ(pread(fd, &byte, 1, off_t(offset)), 1);
    return byte;
  }

  FaultResult fault(std::uintptr_t address) {
    return mm->handle_fault({.address = address}).result;
  }
};

TEST_F(FileTest, private_copy_ends_in_zeroes_and_leaves_the_file_alone) {
  make_private();
  const std::uintptr_t at = map();
  for (const std::size_t offset : {std::size_t(0), page_size + 5, file_bytes - 1})
    EXPECT_EQ(read(at + offset), byte_of(offset)) << offset;
  for (const std::size_t offset : {file_bytes, 4 * page_size - 1, 4 * page_size, 5 * page_size - 1})
    EXPECT_EQ(read(at + offset), std::byte(0)) << offset;
  write(at + 7, std::byte(0xaa));
  EXPECT_EQ(read(at + 7), std::byte(0xaa));
  EXPECT_EQ(in_file(7), byte_of(7));
  ASSERT_TRUE(mm->advise(at, page_size, Advice::remove));
  EXPECT_EQ(read(at + 7), byte_of(7)) << "filled anew (I39)";
}

TEST_F(FileTest, private_copy_from_an_offset) {
  make_private(300);
  const std::uintptr_t at = map();
  EXPECT_EQ(read(at), byte_of(300));
  EXPECT_EQ(read(at + page_size), byte_of(300 + page_size));
  EXPECT_EQ(read(at + file_bytes - 301), byte_of(file_bytes - 1));
  EXPECT_EQ(read(at + file_bytes - 300), std::byte(0));
}

TEST_F(FileTest, I41_file_that_has_become_shorter_poisons_and_is_never_zeroes) {
  make_private();
  const std::uintptr_t at = map();
  ASSERT_EQ(ftruncate(fd, page_size + 10), 0);
  EXPECT_EQ(read(at), byte_of(0)) << "what is there still";
  for (const std::uint64_t page : {1u, 2u, 3u}) {
    EXPECT_EQ(fault(at + page * page_size), FaultResult::poisoned) << page;
    EXPECT_EQ(byte_at(*backing, page), std::byte(0)) << "half a page is left behind";
    EXPECT_EQ(fault(at + page * page_size), FaultResult::poisoned) << "for good";
  }
  EXPECT_EQ(read(at + 4 * page_size), std::byte(0)) << "what was behind it from the beginning";
}

TEST_F(FileTest, I41_neighbours_of_a_page_that_cannot_be_read_are_not_poisoned) {
  make_private();
  const std::uintptr_t at = map();
  ASSERT_EQ(ftruncate(fd, page_size), 0);
  const FaultOutcome outcome =
      mm->handle_fault({.address = at, .around_start = at, .around_end = at + 4 * page_size});
  EXPECT_EQ(outcome.result, FaultResult::done);
  EXPECT_EQ(backing->word(1).read().state(), PageState::none);
  EXPECT_EQ(testing::allocated_pages(*backing), 1u) << "an empty page is a hole";
}

TEST_F(FileTest, I41_read_that_fails_poisons_and_one_that_is_interrupted_does_not) {
  make_private();
  const std::uintptr_t at = map();
  host::fail_call(2, EINTR); // the allocation, then the read
  EXPECT_EQ(read(at), byte_of(0));
  host::fail_call(2, EIO);
  EXPECT_EQ(fault(at + page_size), FaultResult::poisoned);
  host::fail_call(1, ENOSPC);
  EXPECT_EQ(fault(at + 2 * page_size), FaultResult::no_memory);
  EXPECT_EQ(read(at + 2 * page_size), byte_of(2 * page_size)) << "and may be tried again";
  host::fail_call(2, ENOMEM);
  EXPECT_EQ(fault(at + 3 * page_size), FaultResult::no_memory);
  EXPECT_EQ(backing->word(3).read().state(), PageState::none);
  EXPECT_EQ(read(at + 3 * page_size), byte_of(3 * page_size));
}

TEST_F(FileTest, file_that_is_none_is_refused) {
  EXPECT_EQ(FileSource::open("/nowhere/at/all").error().code, Errc::os_failed);
  EXPECT_EQ(FileSource::open("/dev/null").error().code, Errc::invalid_argument);
  EXPECT_EQ(FileSource::open(path, file_bytes + 1).error().code, Errc::invalid_argument);
}

TEST_F(FileTest, shared_file_is_written_by_the_guest_and_keeps_it) {
  make_shared(dup(fd));
  EXPECT_EQ(backing->pages(), 4u) << "the last one is partial";
  std::uintptr_t at = map();
  EXPECT_EQ(read(at + page_size), byte_of(page_size));
  EXPECT_EQ(read(at + file_bytes - 1), byte_of(file_bytes - 1));
  EXPECT_EQ(read(at + file_bytes), std::byte(0));
  write(at + page_size, std::byte(0xaa));
  EXPECT_EQ(in_file(page_size), std::byte(0xaa));
  ASSERT_TRUE(mm->unmap(at, 4 * page_size));
  EXPECT_EQ(in_file(page_size), std::byte(0xaa));
  EXPECT_EQ(backing->word(1).read().raw(), 0u);
  EXPECT_EQ(backing->resident_pages(), 0u);
  at = map();
  EXPECT_EQ(read(at + page_size), std::byte(0xaa));
  EXPECT_EQ(lseek(fd, 0, SEEK_END), off_t(file_bytes)) << "no longer than it was";
}

TEST_F(FileTest, I39_remove_punches_the_shared_file) {
  make_shared(dup(fd));
  const std::uintptr_t at = map();
  EXPECT_EQ(read(at + page_size), byte_of(page_size));
  ASSERT_TRUE(mm->advise(at + page_size, page_size, Advice::remove));
  EXPECT_EQ(read(at + page_size), std::byte(0));
  EXPECT_EQ(in_file(page_size), std::byte(0));
  EXPECT_EQ(in_file(page_size - 1), byte_of(page_size - 1));
  EXPECT_EQ(in_file(2 * page_size), byte_of(2 * page_size));
  EXPECT_EQ(lseek(fd, 0, SEEK_END), off_t(file_bytes));
}

TEST_F(FileTest, I41_shared_file_that_has_become_shorter_poisons) {
  make_shared(dup(fd));
  const std::uintptr_t at = map();
  ASSERT_EQ(ftruncate(fd, page_size + 10), 0);
  EXPECT_EQ(read(at + page_size), byte_of(page_size));
  EXPECT_EQ(fault(at + 2 * page_size), FaultResult::poisoned);
  ASSERT_TRUE(mm->unmap(at, 4 * page_size));
}

TEST_F(FileTest, memfd_of_somebody_else_keeps_its_content_until_it_is_removed) {
  const int memfd = memfd_create("slat-test-theirs", MFD_CLOEXEC);
  ASSERT_GE(memfd, 0);
  write_pattern(memfd);
  make_shared(dup(memfd));
  EXPECT_FALSE(backing->source().may_sleep());
  std::uintptr_t at = map();
  EXPECT_EQ(read(at + 2 * page_size), byte_of(2 * page_size));
  write(at, std::byte(0xbb));
  ASSERT_TRUE(mm->unmap(at, 4 * page_size));
  EXPECT_EQ(byte_at(*backing, 0), std::byte(0xbb));
  EXPECT_EQ(testing::allocated_pages(*backing), 4u);
  at = map();
  EXPECT_EQ(read(at), std::byte(0xbb));
  ASSERT_TRUE(mm->advise(at, 2 * page_size, Advice::remove));
  EXPECT_EQ(testing::allocated_pages(*backing), 2u);
  EXPECT_EQ(read(at), std::byte(0));
  EXPECT_EQ(read(at + 2 * page_size), byte_of(2 * page_size));
  close(memfd);
}

TEST_F(FileTest, shared_file_that_is_none_is_refused_and_closed) {
  const std::size_t descriptors = testing::open_descriptor_count();
  EXPECT_EQ(Backing::create_shared("null", open("/dev/null", O_RDWR)).error().code,
            Errc::invalid_argument);
  EXPECT_FALSE(Backing::create_shared("read-only", open(path.c_str(), O_RDONLY)));
  ASSERT_EQ(ftruncate(fd, 0), 0);
  EXPECT_EQ(Backing::create_shared("empty", dup(fd)).error().code, Errc::invalid_argument);
  EXPECT_EQ(testing::open_descriptor_count(), descriptors);
}

} // namespace
} // namespace slat::mmu
