#include "vmm/storm.hpp"

#include "mmu/stage2/stage2_reshape.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <fmt/format.h>
#include <pthread.h>

namespace slat::vmm {

namespace {

constexpr std::array<std::string_view, storm_kinds> names = {
    "zap",  "pageout", "cold",     "reclaim", "discard", "notifier", "slots",
    "move", "migrate", "readonly", "protect", "dirty",   "split",    "collapse"};
constexpr std::size_t most_sleepers = 4;
constexpr std::size_t most_read_only = 8;

template <class Result> tl::expected<void, std::string> outcome(const Result& result) {
  if (!result) return tl::unexpected(result.error().message);
  return {};
}

} // namespace

std::string_view name(StormKind kind) {
  return names[std::size_t(kind)];
}

std::optional<StormKind> storm_kind(std::string_view name) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) return std::nullopt;
  return StormKind(found - names.begin());
}

/// A subscriber that takes its time now and then, as one that waits for a device does.
class Storm::Sleeper final : public mmu::Notifier {
 public:
  explicit Sleeper(std::uint64_t seed) : state_(seed) {}

  bool invalidate_range_start(const mmu::NotifierRange& range) override {
    if (range.blockable) nap();
    return true;
  }

  void invalidate_range_end(const mmu::NotifierRange& range) override {
    if (range.blockable) nap();
  }

 private:
  void nap() {
    // Callbacks run on several threads: any mixture of their numbers is as good.
    const std::uint64_t next =
        state_.fetch_add(0x9e3779b97f4a7c15, std::memory_order_relaxed) * 0xbf58476d1ce4e5b9;
    if (next >> 60 == 0) std::this_thread::sleep_for(std::chrono::microseconds(next >> 32 & 127));
  }

  std::atomic<std::uint64_t> state_;
};

Storm::Storm(Machine& machine, const StormOptions& options)
    : machine_(&machine), ram_(&machine.ram()), memory_(machine.accelerator().soft_memory()),
      options_(options), audit_(machine.ram()), migrations_(machine) {
  const auto has = [&](StormKind kind) {
    return std::find(options_.kinds.begin(), options_.kinds.end(), kind) != options_.kinds.end();
  };
  if (has(StormKind::reclaim)) ram_->make_store(options_.store_limit);
  SLAT_CHECK(options_.given_up != nullptr || !has(StormKind::discard),
             "a storm of discards without pages that are given up");
  thread_ = std::thread([this] { run(); });
}

Storm::~Storm() {
  (void)finish();
}

std::uint64_t Storm::ranges() const {
  std::uint64_t sum = 0;
  for (const auto& count : counts_) sum += count.load(std::memory_order_relaxed); // a sum
  return sum;
}

const std::string& Storm::finish() {
  stopping_.store(true, std::memory_order_relaxed); // only a wish
  if (thread_.joinable()) thread_.join();
  return error_;
}

void Storm::run() {
  // By itself: the name of another thread is a file, which its creator may not open by then.
  pthread_setname_np(pthread_self(), "slat-storm");
  if (auto ok = enter_sandbox(ThreadKind::storm, machine_->config().seccomp); !ok) {
    error_ = ok.error().message;
    return;
  }
  using Clock = std::chrono::steady_clock;
  std::mt19937_64 random(options_.seed);
  const auto period = std::chrono::nanoseconds(1'000'000'000 / std::max(1u, options_.rate));
  auto next = Clock::now();
  while (!stopping_.load(std::memory_order_relaxed)) { // see finish()
    const StormKind kind = options_.kinds.size() == 1
                               ? options_.kinds[0]
                               : options_.kinds[random() % options_.kinds.size()];
    const auto began = Clock::now();
    auto done = end_what_is_due(false);
    if (done) done = act(kind, pick(random), random);
    if (!done) {
      error_ = std::string(name(kind)) + ": " + done.error();
      break;
    }
    counts_[std::size_t(kind)].fetch_add(1, std::memory_order_relaxed); // a sum
    // Behind schedule is not made up for: a rate, not a quota. The guest runs for as long as it was kept out.
    const auto now = Clock::now();
    const bool kept_out =
        kind == StormKind::slots || kind == StormKind::move || kind == StormKind::migrate;
    next = std::max(next + period, kept_out ? now + (now - began) : now);
    while (!stopping_.load(std::memory_order_relaxed) && Clock::now() < next) {
      std::this_thread::sleep_for(
          std::min<std::chrono::nanoseconds>(next - Clock::now(), std::chrono::milliseconds(5)));
      if (auto ended = end_what_is_due(false); !ended) {
        error_ = ended.error();
        break;
      }
    }
    if (!error_.empty()) break;
  }
  if (auto done = end_what_is_due(true); !done && error_.empty()) error_ = done.error();
  if (auto done = outcome(migrations_.bring_home()); !done && error_.empty()) error_ = done.error();
  for (const auto& sleeper : sleepers_) ram_->mm().notifiers().unregister_notifier(*sleeper);
  failed_.store(!error_.empty(), std::memory_order_relaxed); // see has_failed()
}

Storm::Range Storm::pick(std::mt19937_64& random) const {
  const auto regions = ram_->regions();
  const std::size_t index = random() % regions.size();
  const GuestRam::Region& region = regions[index];
  const unsigned size_bits = unsigned(std::bit_width(options_.max_pages));
  const std::uint64_t pages = region.gpa.size >> mmu::page_shift;
  const std::uint64_t wanted = (std::uint64_t(1) << (random() % size_bits)) + (random() % 3);
  const std::uint64_t count = std::min({wanted, options_.max_pages, pages});
  return {index, &region, random() % (pages - count + 1), count};
}

Storm::Outcome Storm::act(StormKind kind, const Range& range, std::mt19937_64& random) {
  mmu::AddressSpace& mm = ram_->mm();
  const auto advise = [&](mmu::Advice advice) {
    return outcome(mm.advise(range.view(), range.bytes(), advice));
  };
  switch (kind) {
  case StormKind::zap:
    return advise(mmu::Advice::dontneed);
  case StormKind::pageout:
    return advise(mmu::Advice::pageout);
  case StormKind::cold:
    return advise(mmu::Advice::cold);
  case StormKind::reclaim:
    return outcome(
        mm.reclaim(range.view(), range.bytes())); // the store counts what it had no room for
  case StormKind::discard:
    // It writes to the guest, and must not wait for a range that it has made read-only itself.
    if (auto done = give_back(true); !done) return done;
    return discard();
  case StormKind::notifier:
    return outcome(come_and_go(random));
  case StormKind::slots:
    return outcome(machine_->change_slot(range.index, Machine::SlotChange::replace));
  case StormKind::move:
    return outcome(machine_->change_slot(range.index, Machine::SlotChange::move));
  case StormKind::migrate:
    return outcome(migrations_.step(range.index, range.first, range.count));
  case StormKind::readonly:
    return make_read_only(range, random);
  case StormKind::protect:
    return audit_.begin({range.gpa(), range.bytes()},
                        std::chrono::steady_clock::now() +
                            std::chrono::microseconds(random() % 20'000));
  case StormKind::dirty:
    read_dirty(range);
    return {};
  case StormKind::split:
    return outcome(memory_->table().split_range(range.gpa(), range.gpa() + range.bytes()));
  case StormKind::collapse:
    // Most are not alike, or overtaken: that is as it should be.
    (void)memory_->table().collapse(range.gpa(), range.view(), 2, mm.notifiers().sequence());
    return {};
  case StormKind::last_:
    break;
  }
  return {};
}

Storm::Outcome Storm::discard() {
  given_up_.clear();
  if (auto done = outcome(options_.given_up->collect(given_up_)); !done) return done;
  for (const GivenUpPages::Page& page : given_up_) {
    const auto view = ram_->guest_view_of(page.gpa);
    if (!view || page.gpa % mmu::page_size != 0)
      return tl::unexpected(
          fmt::format("the guest gives up {:#x}, which is no page of its RAM", page.gpa));
    const auto removed = ram_->mm().advise(*view, mmu::page_size, mmu::Advice::remove);
    if (!removed) return outcome(removed);
    // Nothing is left anywhere, in no view and in no store: only now may the guest be told.
    if (auto done = outcome(options_.given_up->acknowledge(page)); !done) return done;
    discarded_.fetch_add(1, std::memory_order_relaxed); // a sum
  }
  return {};
}

mmu::Result<void> Storm::come_and_go(std::mt19937_64& random) {
  mmu::NotifierChain& notifiers = ram_->mm().notifiers();
  if (sleepers_.size() == most_sleepers || (!sleepers_.empty() && random() % 2 == 0)) {
    std::swap(sleepers_[random() % sleepers_.size()], sleepers_.back());
    notifiers.unregister_notifier(*sleepers_.back());
    sleepers_.pop_back();
    return {};
  }
  auto sleeper = std::make_unique<Sleeper>(random());
  if (auto ok = notifiers.register_notifier(*sleeper); !ok) return ok;
  sleepers_.push_back(std::move(sleeper));
  return {};
}

Storm::Outcome Storm::make_read_only(const Range& range, std::mt19937_64& random) {
  if (read_only_.size() == most_read_only)
    if (auto done = give_back(true); !done) return done;
  const GpaRange part{range.gpa(), range.bytes()};
  if (auto done = outcome(ram_->set_read_only(part, true)); !done) return done;
  read_only_.push_back(
      {part, std::chrono::steady_clock::now() + std::chrono::microseconds(random() % 5000)});
  return {};
}

Storm::Outcome Storm::give_back(bool all) {
  const auto now = std::chrono::steady_clock::now();
  Outcome result;
  std::erase_if(read_only_, [&](const ReadOnly& part) {
    if (!all && part.until > now) return false;
    if (auto done = outcome(ram_->set_read_only(part.range, false)); !done && result) result = done;
    return true;
  });
  return result;
}

Storm::Outcome Storm::end_tracking(bool all) {
  auto done = audit_.finish(all);
  unwritten_.store(audit_.unwritten_pages(), std::memory_order_relaxed); // a sum
  return done;
}

Storm::Outcome Storm::end_what_is_due(bool all) {
  auto given = give_back(all);
  auto ended = end_tracking(all);
  return given ? ended : given;
}

void Storm::read_dirty(const Range& range) {
  constexpr std::uint64_t aligned = 64 << mmu::page_shift;
  const std::uint64_t start = range.gpa() / aligned * aligned;
  const std::uint64_t end = (range.gpa() + range.bytes() + aligned - 1) / aligned * aligned;
  dirty_bits_.assign((end - start) / aligned, 0);
  memory_->table().read_dirty(start, end, dirty_bits_);
}

} // namespace slat::vmm
