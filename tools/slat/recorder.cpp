#include "slat/recorder.hpp"

#include "slat/stats.hpp"

#include <CLI/CLI.hpp>
#include <ctime>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/utsname.h>
#include <thread>

namespace slat::tool {

namespace {

using Json = nlohmann::ordered_json;
using mmu::Counter;

constexpr std::array recorded{
    Counter::installed_pages,     Counter::fault_retry_count,      Counter::fault_wait_count,
    Counter::filled_pages,        Counter::mm_lock_fallback_count, Counter::invalidate_count,
    Counter::invalidated_pages,   Counter::tlb_flush_count,        Counter::reclaimed_pages,
    Counter::restored_pages,      Counter::migrated_pages,         Counter::freed_pages,
    Counter::write_tracked_pages, Counter::tracked_write_count};

/// Four to a power of two: what mmu::Histogram has, four of its buckets in one.
constexpr std::size_t fine_per_coarse = 4;
constexpr std::size_t coarse_buckets = mmu::Histogram::bucket_count / fine_per_coarse;

double seconds(std::chrono::steady_clock::duration time) {
  using Ticks = std::chrono::duration<std::int64_t, std::ratio<1, 10'000>>;
  return double(std::chrono::round<Ticks>(time).count()) /
         1e4; // std::round() would map libm into the VMM
}

/// Of this thread: what looking takes away from the guest, however long it had to wait itself.
std::chrono::steady_clock::duration cpu_time() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

Json buckets(const mmu::Histogram& histogram) {
  Json list = Json::array();
  for (std::size_t i = 0; i < mmu::Histogram::bucket_count; ++i)
    if (const std::uint64_t count = histogram.count_of(i); count != 0)
      list.push_back({mmu::Histogram::upper_bound_of(i), count});
  return list;
}

std::string access(std::uint32_t flags) {
  std::string text = "---";
  if ((flags & mmu::vm_read) != 0) text[0] = 'r';
  if ((flags & mmu::vm_write) != 0) text[1] = 'w';
  if ((flags & mmu::vm_exec) != 0) text[2] = 'x';
  return text;
}

} // namespace

void add_record_option(CLI::App& command, std::string& path) {
  command
      .add_option("--record", path,
                  "Write what happened over time into this file, as JSON, for slat report")
      ->type_name("FILE");
}

vmm::Result<void> Recorder::open() {
  if (!is_on_) return {};
  utsname system{};
  if (uname(&system) == 0) kernel_release_ = system.release;
  host_cpus_ = std::thread::hardware_concurrency();
  tzset(); // gmtime() reads the time zone's file the first time, also for UTC
  began_ = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
  return file_.open();
}

void Recorder::start(vmm::Machine& machine, PageVisits visits) {
  if (!is_on_) return;
  machine_ = &machine;
  visits_ = std::move(visits);
  start_ = Clock::now();
  tick();
}

void Recorder::tick() {
  if (!is_on_) return;
  const Duration now = Clock::now() - start_;
  if (points_.is_due(now)) add_point(now);
  if (steps_.is_due(now)) add_step(now);
}

void Recorder::add_point(Duration now) {
  Point point;
  point.values.reserve(recorded.size() + 3);
  point.values.push_back(machine_->accelerator().fault_count());
  for (const Counter counter : recorded) point.values.push_back(machine_->counters().sum(counter));
  point.values.push_back(guest_resident_bytes(*machine_));
  if (visits_) {
    const auto& before = points_.samples();
    const std::uint64_t last = before.empty() ? 0 : before.back().value.values.back();
    point.values.push_back(before.empty() ? 0 : visits_().value_or(last)); // none before it runs
  }
  points_.add(now, std::move(point));
}

/// Nothing if views were moved under it each time that it looked.
std::optional<vmm::MemoryMap> Recorder::sample_map(Step& step) {
  vmm::GuestRam& ram = machine_->ram();
  vmm::SoftMemory* const soft = machine_->accelerator().soft_memory();
  for (unsigned tries = 0; tries < 8; ++tries) {
    const std::uint32_t moves = ram.moves();
    const mmu::VmaViews views = ram.mm().vmas();
    vmm::MemoryMap map =
        vmm::collect_memory_map(ram.regions(), views, soft != nullptr ? &soft->table() : nullptr);
    step.vmas.clear();
    step.vma_count = 0;
    for (const vmm::GuestRam::Region& region : ram.regions()) {
      const std::uintptr_t start = region.guest_view;
      for (const mmu::VmaView& view : mmu::inside(views, start, start + region.gpa.size)) {
        ++step.vma_count;
        if (step.vmas.size() < listed_vmas)
          step.vmas.push_back({region.gpa.start + (view.start - start),
                               region.gpa.start + (view.end - start), view.flags});
      }
    }
    if (moves % 2 == 0 && ram.moves() == moves) return map;
  }
  return std::nullopt;
}

void Recorder::add_step(Duration now) {
  const Duration before = cpu_time();
  Step step;
  const auto map = sample_map(step);
  if (!map) return; // at the next tick
  step.memory = vmm::slice_memory(*map, slices);
  const mmu::Histogram latency = machine_->accelerator().fault_latency_ns();
  step.latency.resize(coarse_buckets);
  for (std::size_t i = 0; i < mmu::Histogram::bucket_count; ++i)
    step.latency[i / fine_per_coarse] += latency.count_of(i);
  steps_.add(now, std::move(step), (cpu_time() - before) * rest);
}

Json Recorder::series() const {
  Json times = Json::array();
  std::vector<std::string> names{"stage2_fault_count"};
  for (const Counter counter : recorded) names.emplace_back(mmu::name(counter));
  names.emplace_back("resident_bytes");
  if (visits_) names.emplace_back("page_visit_count");
  std::vector<Json> columns(names.size(), Json::array());
  for (const auto& sample : points_.samples()) {
    times.push_back(seconds(sample.at));
    for (std::size_t i = 0; i < names.size(); ++i) columns[i].push_back(sample.value.values[i]);
  }
  Json series{{"interval_s", seconds(points_.interval())}, {"time_s", std::move(times)}};
  for (std::size_t i = 0; i < names.size(); ++i) series[names[i]] = std::move(columns[i]);
  return series;
}

Json Recorder::latency_series() const {
  Json upper = Json::array();
  std::vector<std::size_t> used;
  for (std::size_t bucket = 0; bucket < coarse_buckets; ++bucket) {
    if (steps_.samples().empty() || steps_.samples().back().value.latency[bucket] == 0) continue;
    used.push_back(bucket);
    upper.push_back(mmu::Histogram::upper_bound_of((bucket + 1) * fine_per_coarse - 1));
  }
  Json times = Json::array();
  Json counts = Json::array();
  for (const auto& sample : steps_.samples()) {
    times.push_back(seconds(sample.at));
    Json row = Json::array();
    for (const std::size_t bucket : used) row.push_back(sample.value.latency[bucket]);
    counts.push_back(std::move(row));
  }
  return {
      {"time_s", std::move(times)}, {"upper_ns", std::move(upper)}, {"counts", std::move(counts)}};
}

Json Recorder::memory() const {
  Json ranges = Json::array();
  for (const vmm::GpaRange& range : machine_->ram().ranges())
    ranges.push_back({range.start, range.size});
  Json states = Json::array();
  for (std::size_t i = 0; i < vmm::slice_states; ++i)
    states.push_back(vmm::name(vmm::SliceState(i)));
  Json steps = Json::array();
  const Step* before = nullptr;
  std::size_t count = 0;
  for (const auto& sample : steps_.samples()) {
    const Step& step = sample.value;
    count = step.memory.size();
    Json entry{{"time_s", seconds(sample.at)}, {"vma_count", step.vma_count}};
    if (before == nullptr || step.vmas != before->vmas) {
      Json vmas = Json::array();
      for (const Vma& vma : step.vmas) vmas.push_back({vma.start, vma.end, access(vma.flags)});
      entry["vmas"] = std::move(vmas);
    }
    before = &step;
    Json pages = Json::object();
    const auto column = [&](const std::string& name, auto value) {
      Json values = Json::array();
      bool any = false;
      for (const vmm::MemorySlice& slice : step.memory) {
        any = any || value(slice) != 0;
        values.push_back(value(slice));
      }
      if (any) pages[name] = std::move(values);
    };
    for (std::size_t i = 0; i < vmm::slice_states; ++i)
      column(std::string(vmm::name(vmm::SliceState(i))),
             [i](const vmm::MemorySlice& slice) { return slice.pages[i]; });
    column("huge", [](const vmm::MemorySlice& slice) { return slice.huge; });
    entry["pages"] = std::move(pages);
    steps.push_back(std::move(entry));
  }
  return {{"bytes", machine_->ram().size()},
          {"ranges", std::move(ranges)},
          {"slices", count},
          {"states", std::move(states)},
          {"from_table", machine_->accelerator().soft_memory() != nullptr},
          {"interval_s", seconds(steps_.interval())},
          {"steps", std::move(steps)}};
}

vmm::Result<void> Recorder::write(const Json& head, const Json& end) {
  if (!is_on_) return {};
  const Duration now = Clock::now() - start_;
  add_point(now);
  add_step(now);
  const vmm::MachineConfig& config = machine_->config();
  const bool soft = machine_->accelerator().soft_memory() != nullptr;
  Json document{{"schema", "slat-record/1"}, {"version", SLAT_VERSION}};
  document.update(head);
  document["began"] = began_;
  document["host"] = {{"cpus", host_cpus_}, {"kernel", kernel_release_}};
  document["machine"] = {{"accelerator", machine_->accelerator().name()},
                         {"vcpus", config.cpus},
                         {"memory_bytes", machine_->ram().size()},
                         {"vma_lock", mmu::to_string(config.vma_lock)},
                         {"fault_around_pages", config.fault_around}};
  document.update(end);
  const mmu::Histogram faults = machine_->accelerator().fault_latency_ns();
  document["latency"] = {
      {"fault_latency_ns",
       {{"one_in", soft ? vmm::SoftMemory::faults_per_timing : 1}, {"buckets", buckets(faults)}}},
      {"invalidate_latency_ns",
       {{"one_in", 1},
        {"buckets", buckets(machine_->ram().mm().notifiers().invalidate_latency_ns())}}}};
  document["series"] = series();
  document["latency_series"] = latency_series();
  document["memory"] = memory();
  // What is not UTF-8 (a path, say) is replaced: no exception.
  return file_.write(document.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

} // namespace slat::tool
