// A page source of slat::mmu: pages are made when they are first used. Here each page is generated from its number, by a
// disk that takes time, has one bad sector and is once short of memory. docs/page-source.md explains each step.
//
//   slat-example-page-source                     exits 0
//   slat-example-page-source --first-page-only   fills the first page of each run alone, and exits 1: wrong content
#include <mmu/address_space.hpp>
#include <mmu/translation_cache.hpp>
#include <mmu/zero_source.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <string_view>
#include <thread>
#include <vector>

using namespace slat;
using mmu::page_size;

namespace {

constexpr std::uint64_t page_count = 128;
constexpr std::uint64_t bad_page = 77;

using Page = std::array<std::uint64_t, page_size / sizeof(std::uint64_t)>;

/// What page `number` holds: never a zero, so that a page that nobody has filled looks wrong.
Page content_of(std::uint64_t number) {
  Page page;
  for (std::uint64_t word = 0; word < page.size(); ++word)
    page[word] = (number + 1) << 32 | (word + 1);
  return page;
}

class Disk final : public mmu::PageSource {
 public:
  explicit Disk(bool first_page_only) : first_page_only_(first_page_only) {}

  /// Any number of threads, each with pages that are its own until it returns. No lock that a sleep could hurt is held,
  /// for may_sleep() says so; but nothing of the address space may be called: who waits there may wait for this page.
  mmu::FillResult fill(mmu::Backing& backing, mmu::PageRun run) override {
    if (short_of_memory.exchange(false))
      return mmu::FillResult::no_memory; // nothing is lost: it will be tried again

    // 1. Memory first: a store into a hole that the host cannot back is a SIGBUS, and no error that could be returned.
    if (const auto ready = mmu::ZeroSource().fill(backing, run); ready != mmu::FillResult::filled)
      return ready;

    // 2. The content, through the host view. Wait for whatever it takes.
    std::this_thread::sleep_for(std::chrono::microseconds(50));
    for (std::uint64_t page = run.first; page < run.first + run.count; ++page) {
      if (page == bad_page) {
        // 3. Half a run is no run: back to holes, so that nobody ever reads a page that is not whole. Neighbours are
        // tried again alone; the page itself is poisoned, and never zeroes (I41).
        (void)mmu::host::punch(backing.fd(), run.first * page_size, run.count * page_size);
        return mmu::FillResult::failed;
      }
      if (page != run.first && first_page_only_) continue; // the mistake
      const Page content = content_of(page);
      std::memcpy(backing.host_view(page), content.data(), page_size);
    }

    // 4. All of it is written. Who sees the page present sees this: the fault publishes it, not we.
    for (std::uint64_t page = run.first; page < run.first + run.count; ++page)
      fills[page].fetch_add(1);
    return mmu::FillResult::filled;
  }

  [[nodiscard]] bool may_sleep() const override {
    return true;
  } // asked before each fill: must not change

  [[nodiscard]] std::string_view name() const override { return "disk"; }

  std::array<std::atomic<unsigned>, page_count> fills{};
  std::atomic<bool> short_of_memory{false};

 private:
  const bool first_page_only_;
};

int failed(std::string_view what) {
  return std::printf("FAIL: %.*s\n", int(what.size()), what.data()), 1;
}

/// The host's own way into guest memory: pins the page, so that nothing happens to it during the copy.
bool right(mmu::TranslationCache& cache, std::uintptr_t view, std::uint64_t number) {
  Page page{};
  const auto copied =
      cache.read(view + number * page_size, std::as_writable_bytes(std::span(page)));
  return copied.result && page == content_of(number);
}

/// Threads that read every page but the bad one, each in an order of its own. Returns how many were wrong.
unsigned read_all(mmu::TranslationCache& cache, std::uintptr_t view, unsigned rounds) {
  std::atomic<unsigned> wrong{0};
  std::vector<std::jthread> readers;
  for (unsigned seed = 1; seed <= 4; ++seed)
    readers.emplace_back([&, seed] {
      for (std::uint64_t i = 0; i < rounds * page_count; ++i) {
        const std::uint64_t number = (i * (2 * seed + 1)) % page_count; // odd steps: every page
        if (number != bad_page && !right(cache, view, number)) wrong.fetch_add(1);
      }
    });
  readers.clear(); // joins
  return wrong;
}

} // namespace

int main(int argc, char** argv) {
  const bool mistake = argc > 1 && std::string_view(argv[1]) == "--first-page-only";
  mmu::Counters counters;
  auto made = mmu::AddressSpace::create({}, counters);
  auto source = std::make_unique<Disk>(mistake);
  Disk& disk = *source; // the backing owns it, and we hold the backing
  auto backing = mmu::Backing::create("example", page_count * page_size, std::move(source));
  if (!made || !backing) return failed("no address space, or no memory");
  mmu::AddressSpace& mm = **made;
  const mmu::BackingRef reference(*backing);
  const auto view = mm.map({.length = page_count * page_size, .backing = *backing});
  if (!view) return failed(view.error().message);
  mmu::TranslationCache cache(mm);
  if (auto in = mm.notifiers().register_notifier(cache); !in) return failed(in.error().message);
  const auto leave = [&](mmu::TranslationCache* c) { mm.notifiers().unregister_notifier(*c); };
  const std::unique_ptr<mmu::TranslationCache, decltype(leave)> subscription(&cache, leave);

  // Short of memory: the fault says so, nothing is lost, and the next one succeeds.
  disk.short_of_memory = true;
  const auto refused = handle_mm_fault(mm, {.address = *view}).result;
  if (refused != mmu::FaultResult::no_memory || disk.fills[0] != 0) return failed("no_memory");
  std::printf("memory: %s; the page stays as it was\n", to_string(refused).data());

  // A fault with a window: its pages come as one run, if they are all empty.
  mmu::FaultRequest window{
      .address = *view, .around_start = *view, .around_end = *view + 16 * page_size};
  if (handle_mm_fault(mm, window).result != mmu::FaultResult::done) return failed("no page");
  for (std::uint64_t page = 0; page < 16; ++page)
    if (!right(cache, *view, page)) return failed("wrong content in a run of 16 pages");
  std::printf("run:    16 pages by one fault, every byte of each as it should be\n");

  // A bad page: its neighbours come all the same, it never does.
  window = {*view + bad_page * page_size, mmu::vm_read, nullptr, *view,
            *view + page_count * page_size};
  for (int again = 0; again < 2; ++again)
    if (handle_mm_fault(mm, window).result != mmu::FaultResult::poisoned)
      return failed("a page that cannot be had was had");
  if (!right(cache, *view, bad_page + 1)) return failed("a neighbour of the bad page");
  std::printf("bad:    page %lu is poisoned (I41), its neighbours are not\n", bad_page);

  // Four threads that want the same pages: one of them has each page filled, the others wait (I40).
  if (read_all(cache, *view, 2) != 0) return failed("wrong content");
  for (std::uint64_t page = 0; page < page_count; ++page)
    if (disk.fills[page] != (page == bad_page ? 0 : 1)) return failed("filled twice, or never");
  std::printf("once:   4 threads, each page filled once\n");

  // Given back to the host, pages come from the source again; a few hundred times while they are read.
  std::atomic<bool> over{false};
  std::jthread remover([&, random = std::minstd_rand(7)]() mutable {
    while (!over)
      (void)mm.advise(*view + random() % 64 * page_size, 8 * page_size, mmu::Advice::remove);
  });
  const unsigned wrong = read_all(cache, *view, 4);
  over = true;
  remover.join();
  unsigned fills = 0;
  for (const auto& of_page : disk.fills) fills += of_page;
  std::printf("again:  %u fills of %lu pages, %u reads were wrong\n", fills, page_count, wrong);
  if (wrong != 0) return failed("wrong content while pages come and go");
  std::printf("PASS\n");
  return 0;
}
