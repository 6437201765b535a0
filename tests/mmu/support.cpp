#include "support.hpp"

#include <cerrno>
#include <cstdlib>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <malloc.h>
#include <sstream>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace slat::mmu::testing {

using namespace std::chrono_literals;

void Latch::open() {
  const std::lock_guard guard(mutex_);
  open_ = true;
  changed_.notify_all();
}

void Latch::wait() {
  std::unique_lock guard(mutex_);
  if (changed_.wait_for(guard, 60s, [this] { return open_; })) return;
  fmt::print(stderr, "a latch stayed closed for 60 s\n");
  std::abort();
}

bool Latch::is_open() {
  const std::lock_guard guard(mutex_);
  return open_;
}

bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  for (int i = 0; i < 1000; ++i) { // most waits are short
    if (condition()) return true;
    std::this_thread::yield();
  }
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(200us);
  }
  return true;
}

bool stays(const std::function<bool()>& condition) {
  for (int i = 0; i < 10; ++i) {
    if (!condition()) return false;
    std::this_thread::sleep_for(3ms);
  }
  return condition();
}

std::map<std::uintptr_t, HostPage> host_pages(const std::string& name, const Backing& backing) {
  const auto view = reinterpret_cast<std::uintptr_t>(backing.host_view(0));
  std::map<std::uintptr_t, HostPage> pages;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("/memfd:" + name + " ") == std::string::npos) continue;
    std::istringstream fields(line);
    std::uintptr_t start = 0;
    std::uintptr_t end = 0;
    char dash = 0;
    std::string permissions;
    std::uint64_t offset = 0;
    fields >> std::hex >> start >> dash >> end >> permissions >> offset;
    for (std::uintptr_t at = start; at < end; at += page_size, offset += page_size)
      if (at < view || at >= view + (backing.pages() << page_shift))
        pages[at] = {offset, permissions};
  }
  return pages;
}

namespace {

/// The host mappings of the memfd `name`.
std::vector<std::pair<std::uintptr_t, std::uintptr_t>> host_mappings(const std::string& name) {
  std::vector<std::pair<std::uintptr_t, std::uintptr_t>> mappings;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("/memfd:" + name + " ") == std::string::npos) continue;
    std::uintptr_t start = 0;
    std::uintptr_t end = 0;
    char dash = 0;
    std::istringstream(line) >> std::hex >> start >> dash >> end;
    mappings.emplace_back(start, end);
  }
  return mappings;
}

} // namespace

std::set<std::uintptr_t> host_locked_pages(const std::string& name) {
  // MS_INVALIDATE is refused where a mapping is locked, and does nothing else. (/proc/self/smaps has it too, but counts
  // all pages of a sanitizer's shadow first.)
  std::set<std::uintptr_t> pages;
  for (const auto& [start, end] : host_mappings(name))
    for (std::uintptr_t at = start; at < end; at += page_size)
      if (msync(reinterpret_cast<void*>(at), page_size, MS_ASYNC | MS_INVALIDATE) != 0) {
        EXPECT_EQ(errno, EBUSY);
        pages.insert(at);
      }
  return pages;
}

namespace {

/// glibc reserves 64 MiB for the first allocation of another thread, whenever that is: not in these tests, which tell
/// by what is reserved whether address space is lost.
[[maybe_unused]] const int one_arena = mallopt(M_ARENA_MAX, 1);

} // namespace

std::uint64_t reserved_bytes(std::uintptr_t from, std::uintptr_t to) {
  std::ifstream maps("/proc/self/maps");
  std::uint64_t bytes = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.find(" ---p ") == std::string::npos) continue;
    std::uintptr_t start = 0;
    std::uintptr_t end = 0;
    char dash = 0;
    std::istringstream(line) >> std::hex >> start >> dash >> end;
    if (from != to) {
      start = std::clamp(start, from, to);
      end = std::clamp(end, from, to);
    }
    bytes += end - start;
  }
  return bytes;
}

std::size_t host_mapping_count() {
  std::ifstream maps("/proc/self/maps");
  std::size_t count = 0;
  for (std::string line; std::getline(maps, line);)
    if (line.find("/memfd:") != std::string::npos) ++count;
  return count;
}

std::size_t open_descriptor_count() {
  DIR* const directory = opendir("/proc/self/fd");
  std::size_t count = 0;
  while (readdir(directory) != nullptr) ++count;
  closedir(directory);
  return count;
}

bool host_pte_present(std::uintptr_t address) {
  const int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  std::uint64_t entry = 0;
  const ssize_t got =
      pread(fd, &entry, sizeof entry, off_t((address >> page_shift) * sizeof entry));
  close(fd);
  EXPECT_EQ(got, ssize_t(sizeof entry));
  return (entry >> 63) != 0;
}

std::uint64_t allocated_pages(const Backing& backing) {
  struct stat status{};
  EXPECT_EQ(fstat(backing.fd(), &status), 0);
  return std::uint64_t(status.st_blocks) * 512 / page_size;
}

std::byte byte_at(const Backing& backing, std::uint64_t page, std::size_t offset) {
  std::byte byte{};
  EXPECT_EQ(pread(backing.fd(), &byte, 1, off_t((page << page_shift) + offset)), 1);
  return byte;
}

FakeSource::~FakeSource() {
  if (released_ != nullptr) ++*released_;
}

FillResult FakeSource::fill(Backing& backing, PageRun run) {
  {
    const std::lock_guard guard(mutex_);
    runs_.push_back(run);
  }
  if (before)
    if (const FillResult result = before(backing, run); result != FillResult::filled) return result;
  for (std::uint64_t page = run.first; page < run.first + run.count; ++page)
    std::fill_n(backing.host_view(page), page_size, pattern_of(page));
  return FillResult::filled;
}

std::vector<PageRun> FakeSource::runs() {
  const std::lock_guard guard(mutex_);
  return runs_;
}

std::size_t FakeSource::fills_of(std::uint64_t page) {
  std::size_t fills = 0;
  for (const PageRun& run : runs())
    if (run.first <= page && page < run.first + run.count) ++fills;
  return fills;
}

InstallResult FakeMmu::install(const InstallRequest& run) {
  const Call call{run.address, run.pages, run.writable};
  {
    const std::lock_guard guard(mutex_);
    calls_.push_back(call);
  }
  return decide ? decide(call) : InstallResult{InstallStatus::installed, run.pages};
}

std::vector<FakeMmu::Call> FakeMmu::calls() {
  const std::lock_guard guard(mutex_);
  return calls_;
}

bool FakeNotifier::invalidate_range_start(const NotifierRange& range) {
  const bool accepted = !on_start || on_start(range);
  ++(accepted ? starts : refusals);
  return accepted;
}

void FakeNotifier::invalidate_range_end(const NotifierRange& range) {
  if (on_end) on_end(range);
  ++ends;
}

bool FakeNotifier::clear_flush_young(std::uintptr_t, std::uintptr_t) {
  ++flush_youngs;
  return on_young && on_young();
}

bool FakeNotifier::clear_young(std::uintptr_t, std::uintptr_t) {
  ++clear_youngs;
  return on_young && on_young();
}

bool FakeNotifier::test_young(std::uintptr_t, std::uintptr_t) {
  ++test_youngs;
  return on_young && on_young();
}

void FakeNotifier::release() {
  if (on_release) on_release();
  ++releases;
}

VmaLockDesign design_under_test() {
  const char* const name = std::getenv("SLAT_TEST_VMA_LOCK");
  if (name == nullptr) return VmaLockDesign::vma_refcount;
  const auto design = vma_lock_design(name);
  if (!design) {
    fmt::print(stderr, "SLAT_TEST_VMA_LOCK={}: no such design\n", name);
    std::abort();
  }
  return *design;
}

std::unique_ptr<AddressSpace> make_mm(Counters& counters, AddressSpaceOptions options) {
  options.vma_lock = design_under_test();
  auto mm = AddressSpace::create(options, counters);
  if (!mm) {
    fmt::print(stderr, "no address space: {}\n", mm.error().message);
    std::abort();
  }
  return std::move(*mm);
}

World::World(std::uint64_t pages, bool source_sleeps, const AddressSpaceOptions& options)
    : mm_owner(make_mm(counters, options)), mm(*mm_owner) {
  static std::atomic<int> worlds{0};
  name = fmt::format("slat-test-{}", ++worlds);
  auto owned = std::make_unique<FakeSource>(source_sleeps, &released);
  source = owned.get();
  auto created = Backing::create(name, pages << page_shift, std::move(owned));
  if (!created) {
    fmt::print(stderr, "no backing: {}\n", created.error().message);
    std::abort();
  }
  backing.reset(*created);
}

std::uintptr_t World::map(std::uint64_t pgoff, std::uint64_t pages, std::uintptr_t address,
                          std::uint32_t flags) {
  auto where = mm.map({.address = address,
                       .length = pages << page_shift,
                       .flags = flags,
                       .backing = backing.get(),
                       .pgoff = pgoff});
  EXPECT_TRUE(where) << why(where);
  return where ? *where : 0;
}

FaultOutcome World::fault(std::uintptr_t address, std::uint32_t access) {
  return handle_mm_fault(mm, {.address = address, .access = access, .mmu = &mmu});
}

void World::touch(std::uintptr_t address, std::uint64_t pages) {
  for (std::uint64_t i = 0; i < pages; ++i) {
    const std::uintptr_t at = address + (i << page_shift);
    ASSERT_EQ(fault(at).result, FaultResult::done);
    (void)*reinterpret_cast<volatile char*>(at);
  }
}

void expect_views_agree(World& world) {
  const VmaViews views = world.mm.vmas();
  std::map<std::uintptr_t, HostPage> expected;
  for (const VmaView& vma : views)
    for (std::uintptr_t at = vma.start; at < vma.end; at += page_size) {
      const std::string permissions = std::string((vma.flags & vm_read) != 0 ? "r" : "-") +
                                      ((vma.flags & vm_write) != 0 ? "w" : "-") +
                                      ((vma.flags & vm_exec) != 0 ? "x" : "-") + "s";
      expected[at] = {(vma.pgoff << page_shift) + (at - vma.start), permissions};
    }
  EXPECT_EQ(host_pages(world.name, *world.backing), expected);
  std::set<std::uintptr_t> locked;
  for (const VmaView& vma : views)
    if ((vma.flags & vm_locked) != 0)
      for (std::uintptr_t at = vma.start; at < vma.end; at += page_size) locked.insert(at);
  EXPECT_EQ(host_locked_pages(world.name), locked);
  const auto mappings = host_mappings(world.name);
  for (const VmaView& vma : views)
    EXPECT_TRUE(std::any_of(mappings.begin(), mappings.end(), [&](const auto& mapping) {
      return mapping.first <= vma.start && vma.end <= mapping.second;
    })) << "a VMA of several host mappings";
  for (std::size_t i = 1; i < views.size(); ++i)
    EXPECT_FALSE(continues(views[i - 1], views[i])) << "two VMAs that are one";
}

std::uintptr_t free_addresses(std::uint64_t pages) {
  // Guards on both sides, and more room above, where the kernel looks first: a thread's stack, say,
  // does not land here.
  constexpr std::size_t guard = std::size_t(1) << 20;
  constexpr std::size_t above = std::size_t(8) << 30;
  const std::size_t bytes = pages << page_shift;
  void* const reserved = mmap(nullptr, guard + bytes + guard + above, PROT_NONE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  EXPECT_NE(reserved, MAP_FAILED);
  const std::uintptr_t start = reinterpret_cast<std::uintptr_t>(reserved) + guard;
  munmap(reinterpret_cast<void*>(start), bytes);
  munmap(reinterpret_cast<void*>(start + bytes + guard), above);
  return start;
}

} // namespace slat::mmu::testing
