#include "slat/report/fields.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace slat::reporting {

namespace {

constexpr std::size_t most_points = 100'000;
constexpr std::size_t most_steps = 4096;
constexpr std::size_t most_slices = 8192;
constexpr std::size_t most_buckets = 4096;
constexpr std::size_t most_ranges = 64;
constexpr std::size_t most_vmas = 65536;
constexpr std::size_t most_states = 16;
constexpr double longest_run = 1e10; // seconds
constexpr double most_bytes = 1e18;

Latency read_latency(const Fields& fields) {
  Latency latency;
  latency.one_in = unsigned(fields.number("one_in", 1, 1e6));
  std::vector<double> bounds;
  for (const std::vector<double>& row : fields.rows("buckets", most_buckets, 2)) {
    if (row.size() != 2 || !(row[1] > 0)) {
      fields.wrong("buckets", "has an element that is not [upper bound, count above 0]");
      return {};
    }
    latency.buckets.push_back({row[0], row[1]});
    bounds.push_back(row[0]);
  }
  if (!ascends(bounds)) fields.wrong("buckets", "does not ascend");
  return latency;
}

std::vector<double> read_times(const Fields& fields, std::size_t most) {
  std::vector<double> times = fields.numbers("time_s", most);
  if (!ascends(times) || (!times.empty() && times.back() > longest_run))
    fields.wrong("time_s", "does not ascend to at most 1e10");
  return times;
}

Series read_series(const Fields& fields) {
  Series series;
  series.time_s = read_times(fields, most_points);
  for (const auto& [name, value] : fields.json().items()) {
    if (name == "time_s" || !value.is_array()) continue;
    if (series.columns.size() == 100) {
      fields.wrong(name, "is one column too many");
      break;
    }
    series.columns.push_back({name, fields.numbers(name, most_points)});
    if (series.columns.back().values.size() != series.time_s.size())
      fields.wrong(name, "is not as long as time_s");
  }
  return series;
}

LatencySeries read_latency_series(const Fields& fields) {
  LatencySeries series;
  series.time_s = read_times(fields, most_steps);
  series.upper_ns = fields.numbers("upper_ns", most_buckets);
  if (!ascends(series.upper_ns)) fields.wrong("upper_ns", "does not ascend");
  series.counts = fields.rows("counts", most_steps, most_buckets);
  if (series.counts.size() != series.time_s.size())
    fields.wrong("counts", "is not as long as time_s");
  for (const std::vector<double>& row : series.counts)
    if (row.size() != series.upper_ns.size())
      fields.wrong("counts", "has a row that is not as long as upper_ns");
  return series;
}

std::vector<MemorySteps::Vma> read_vmas(const Fields& fields) {
  std::vector<MemorySteps::Vma> vmas;
  for (const Json& entry : *fields.array("vmas", most_vmas)) {
    const bool good = entry.is_array() && entry.size() == 3 && entry[0].is_number() &&
                      entry[1].is_number() && entry[2].is_string();
    const MemorySteps::Vma vma =
        good ? MemorySteps::Vma{entry[0].get<double>(), entry[1].get<double>(),
                                entry[2].get_ref<const std::string&>()}
             : MemorySteps::Vma{0, 0, ""};
    const double before = vmas.empty() ? 0 : vmas.back().end;
    if (!(vma.start >= before && vma.end > vma.start && vma.end <= most_bytes) ||
        vma.access.size() > 8) {
      fields.wrong("vmas", "has an element that is not [start, end, access], or does not ascend");
      return {};
    }
    vmas.push_back(vma);
  }
  return vmas;
}

MemorySteps::Step read_step(const Fields& fields, const MemorySteps& memory) {
  MemorySteps::Step step;
  step.time_s = fields.number("time_s", 0, longest_run);
  step.vma_count = fields.number("vma_count");
  if (fields.has("vmas"))
    step.vmas = read_vmas(fields);
  else if (!memory.steps.empty())
    step.vmas = memory.steps.back().vmas;
  const Fields pages = fields.object("pages");
  const auto column = [&](const std::string& name) {
    if (!pages.has(name)) return std::vector<double>();
    std::vector<double> values = pages.numbers(name, most_slices);
    if (values.size() != memory.slices) pages.wrong(name, "has not a number for each slice");
    return values;
  };
  for (const std::string& state : memory.states) step.pages.push_back(column(state));
  step.huge = column("huge");
  return step;
}

MemorySteps read_memory(const Fields& fields) {
  MemorySteps memory;
  memory.bytes = fields.number("bytes", 4096, most_bytes);
  double total = 0;
  for (const std::vector<double>& row : fields.rows("ranges", most_ranges, 2)) {
    const double before =
        memory.ranges.empty() ? 0 : memory.ranges.back().start + memory.ranges.back().size;
    if (row.size() != 2 || row[0] < before || !(row[1] > 0) || row[0] > most_bytes) {
      fields.wrong("ranges", "has an element that is not [start, size], or does not ascend");
      return memory;
    }
    memory.ranges.push_back({row[0], row[1]});
    total += row[1];
  }
  if (total != memory.bytes) fields.wrong("ranges", "does not add up to bytes");
  memory.slices = std::size_t(fields.number("slices", 0, double(most_slices)));
  memory.from_table = fields.flag("from_table");
  memory.states = fields.texts("states", most_states);
  if (memory.states.empty() || memory.states.front() != "absent")
    fields.wrong("states", "does not begin with \"absent\"");
  double before = -1;
  for (const Fields& step : fields.objects("steps", most_steps)) {
    if (!fields.ok()) break;
    memory.steps.push_back(read_step(step, memory));
    if (!(memory.steps.back().time_s > before)) step.wrong("time_s", "does not ascend");
    before = memory.steps.back().time_s;
  }
  return memory;
}

} // namespace

Recording read_recording(const Fields& document) {
  Recording recording;
  recording.command = document.text("command");
  recording.version = document.text("version");
  recording.began = document.text("began");
  recording.options = document.pairs("options");
  recording.host = document.pairs("host");
  recording.machine = document.pairs("machine");
  recording.stats = document.pairs("stats");
  const Fields stats = document.object("stats");
  recording.verdict = stats.text("verdict");
  recording.exit_code = stats.number("exit_code", 0, 255);
  recording.seconds = stats.number("seconds", 0, longest_run);
  const Fields latency = document.object("latency");
  recording.faults = read_latency(latency.object("fault_latency_ns"));
  recording.invalidations = read_latency(latency.object("invalidate_latency_ns"));
  recording.series = read_series(document.object("series"));
  recording.latency_series = read_latency_series(document.object("latency_series"));
  recording.memory = read_memory(document.object("memory"));
  return recording;
}

} // namespace slat::reporting
