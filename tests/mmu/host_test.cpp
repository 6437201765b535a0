#include "mmu/host.hpp"

#include "support.hpp"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

namespace slat::mmu {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::host_mapping_count;
using testing::open_descriptor_count;

struct Fd {
  explicit Fd(std::uint64_t bytes) {
    auto created = host::create_memfd("slat-test-host", bytes);
    EXPECT_TRUE(created) << testing::why(created);
    fd = created ? *created : -1;
  }

  ~Fd() { close(fd); }

  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;

  int fd = -1;
};

TEST(Host, memfd_has_its_size_for_good) {
  const Fd memfd(4 * page_size);
  EXPECT_EQ(lseek(memfd.fd, 0, SEEK_END), off_t(4 * page_size));
  EXPECT_NE(ftruncate(memfd.fd, page_size), 0) << "a page could turn into a SIGBUS";
  EXPECT_NE(ftruncate(memfd.fd, 8 * page_size), 0);
}

TEST(Host, taken_address_is_refused_and_left_alone) {
  const Fd memfd(4 * page_size);
  const auto where = host::map_shared(0, 2 * page_size, PROT_READ | PROT_WRITE, memfd.fd, 0);
  ASSERT_TRUE(where);
  *reinterpret_cast<char*>(*where) = 'x';
  const auto again = host::map_shared(*where + page_size, 2 * page_size, PROT_READ, memfd.fd, 0);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Errc::exists);
  EXPECT_EQ(*reinterpret_cast<char*>(*where), 'x');
  ASSERT_TRUE(host::unmap(*where, 2 * page_size));
}

TEST(Host, mapping_anywhere_is_aligned_and_leaves_no_reservation) {
  const Fd memfd(4 * page_size);
  const std::size_t before = host_mapping_count();
  for (const std::size_t alignment : {page_size, std::size_t(1) << 21, std::size_t(1) << 30}) {
    const auto where = host::map_shared(0, 4 * page_size, PROT_READ, memfd.fd, 0, alignment);
    ASSERT_TRUE(where) << testing::why(where);
    EXPECT_EQ(*where % alignment, 0u);
    EXPECT_EQ(host_mapping_count(), before + 1);
    // Its neighbourhood is free: nothing of the reservation is left.
    void* const behind = mmap(reinterpret_cast<void*>(*where + 4 * page_size), page_size, PROT_NONE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (alignment > page_size) {
      EXPECT_NE(behind, MAP_FAILED);
    }
    if (behind != MAP_FAILED) munmap(behind, page_size);
    ASSERT_TRUE(host::unmap(*where, 4 * page_size));
  }
  EXPECT_EQ(host_mapping_count(), before);
}

TEST(Host, zap_keeps_and_punch_takes_the_data) {
  const Fd memfd(2 * page_size);
  const auto where = host::map_shared(0, 2 * page_size, PROT_READ | PROT_WRITE, memfd.fd, 0);
  ASSERT_TRUE(where);
  ASSERT_TRUE(host::populate(*where, 2 * page_size));
  EXPECT_TRUE(testing::host_pte_present(*where));
  auto* const bytes = reinterpret_cast<char*>(*where);
  bytes[0] = 'a';
  bytes[page_size] = 'b';
  ASSERT_TRUE(host::zap(*where, 2 * page_size));
  EXPECT_FALSE(testing::host_pte_present(*where));
  EXPECT_EQ(bytes[0], 'a');
  ASSERT_TRUE(host::punch(memfd.fd, page_size, page_size));
  EXPECT_EQ(bytes[0], 'a');
  EXPECT_EQ(bytes[page_size], 0);
  ASSERT_TRUE(host::unmap(*where, 2 * page_size));
}

TEST(Host, nth_call_fails_once_and_leaks_nothing) {
  const std::size_t descriptors = open_descriptor_count();
  for (unsigned n = 1; n <= 2; ++n) {
    host::fail_call(n, ENOSPC);
    const auto failed = host::create_memfd("slat-test-host", page_size);
    ASSERT_FALSE(failed) << n;
    EXPECT_EQ(failed.error().code, Errc::no_memory);
    EXPECT_EQ(failed.error().os_error, ENOSPC);
  }
  EXPECT_EQ(open_descriptor_count(), descriptors);
  const Fd memfd(page_size); // switched off again by having fired
  host::fail_call(3, EIO);
  host::fail_call(0, 0);
  EXPECT_TRUE(host::punch(memfd.fd, 0, page_size));

  const std::size_t mappings = host_mapping_count();
  host::fail_call(1, ENOMEM);
  EXPECT_FALSE(host::map_shared(0, page_size, PROT_READ, memfd.fd, 0, std::size_t(1) << 21));
  EXPECT_EQ(host_mapping_count(), mappings);
}

TEST(Host, interrupted_calls_are_made_again) {
  const Fd memfd(page_size);
  host::fail_call(1, EINTR);
  EXPECT_TRUE(host::punch(memfd.fd, 0, page_size));
  const auto where = host::map_shared(0, page_size, PROT_READ | PROT_WRITE, memfd.fd, 0);
  ASSERT_TRUE(where);
  for (const int error : {EINTR, EAGAIN}) {
    host::fail_call(1, error);
    EXPECT_TRUE(host::populate(*where, page_size));
  }
  ASSERT_TRUE(host::unmap(*where, page_size));
}

TEST(Host, errors_say_what_why_and_how_to_mend) {
  const Fd memfd(page_size);
  const auto message = [](auto call, int error) {
    host::fail_call(1, error);
    const auto result = call();
    host::fail_call(0, 0);
    EXPECT_FALSE(result);
    const std::string text = testing::why(result);
    EXPECT_EQ(text.find('\n'), text.npos) << text;
    EXPECT_NE(text.back(), '.') << text;
    return text;
  };
  EXPECT_THAT(message([] { return host::create_memfd("ram0", page_size); }, EMFILE),
              AllOf(HasSubstr("ram0"), HasSubstr("RLIMIT_NOFILE"), HasSubstr("Too many open")));
  EXPECT_THAT(message([&] { return host::map_shared(0, 0x3000, PROT_READ, memfd.fd, 0); }, ENOMEM),
              AllOf(HasSubstr("12288 bytes"), HasSubstr("Cannot allocate memory")));
  EXPECT_THAT(message([] { return host::unmap(0xabc000, 0x1000); }, EINVAL),
              AllOf(HasSubstr("unmap 4096 bytes"), HasSubstr("0xabc000"), HasSubstr("Invalid")));
  EXPECT_THAT(message([] { return host::zap(0xabc000, 0x1000); }, EBUSY),
              AllOf(HasSubstr("discard"), HasSubstr("0xabc000"), HasSubstr("busy")));
  EXPECT_THAT(message([] { return host::populate(0xabc000, 0x1000); }, ENOMEM),
              AllOf(HasSubstr("populate 4096 bytes"), HasSubstr("Cannot allocate")));
  EXPECT_THAT(message([&] { return host::punch(memfd.fd, 0x5000, 0x1000); }, EPERM),
              AllOf(HasSubstr("0x5000"), HasSubstr("back to the host"), HasSubstr("permitted")));
}

TEST(Host, size_that_the_limit_forbids_names_the_limit) {
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  rlimit small = old;
  small.rlim_cur = page_size;
  const auto old_handler = signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto failed = host::create_memfd("slat-test-host", std::uint64_t(1) << 30);
  setrlimit(RLIMIT_FSIZE, &old);
  signal(SIGXFSZ, old_handler);
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().message, HasSubstr("RLIMIT_FSIZE"));
  EXPECT_EQ(failed.error().os_error, EFBIG);
}

TEST(Host, codes_tell_want_of_memory_from_other_failures) {
  const auto code = [](int error) {
    host::fail_call(1, error);
    const auto result = host::unmap(0x1000, page_size);
    return result ? Errc{} : result.error().code;
  };
  EXPECT_EQ(code(ENOMEM), Errc::no_memory);
  EXPECT_EQ(code(ENOSPC), Errc::no_memory);
  EXPECT_EQ(code(ENFILE), Errc::no_memory);
  EXPECT_EQ(code(EEXIST), Errc::exists);
  EXPECT_EQ(code(EIO), Errc::os_failed);
}

} // namespace
} // namespace slat::mmu
