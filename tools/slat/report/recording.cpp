#include "slat/report/recording.hpp"

#include "slat/report/text.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace slat::reporting {

namespace {

std::string value_of(const Pairs& pairs, std::string_view name) {
  const auto found = std::ranges::find(pairs, name, &Pairs::value_type::first);
  return found == pairs.end() ? std::string() : found->second;
}

} // namespace

double Latency::count() const {
  double total = 0;
  for (const Bucket& bucket : buckets) total += bucket.count;
  return total;
}

double Latency::percentile(double fraction) const {
  const double wanted = std::ceil(fraction * count());
  double seen = 0;
  for (const Bucket& bucket : buckets) {
    seen += bucket.count;
    if (seen >= wanted) return bucket.upper_ns;
  }
  return buckets.empty() ? 0 : buckets.back().upper_ns;
}

const Series::Column* Series::find(std::string_view name) const {
  const auto found = std::ranges::find(columns, name, &Column::name);
  return found == columns.end() ? nullptr : &*found;
}

std::vector<double> Series::rate(const Column& column) const {
  std::vector<double> rates;
  for (std::size_t i = 1; i < time_s.size(); ++i)
    rates.push_back(std::max(0.0, column.values[i] - column.values[i - 1]) /
                    (time_s[i] - time_s[i - 1]));
  return rates;
}

double MemorySteps::address_of(double offset) const {
  for (const Range& range : ranges) {
    if (offset < range.size) return range.start + offset;
    offset -= range.size;
  }
  return ranges.empty() ? offset : ranges.back().start + ranges.back().size;
}

double MemorySteps::offset_of(double address) const {
  double offset = 0;
  for (const Range& range : ranges) {
    if (address < range.start + range.size) return offset + std::max(0.0, address - range.start);
    offset += range.size;
  }
  return offset;
}

std::string Recording::stat(std::string_view name) const {
  return value_of(stats, name);
}

std::string Recording::option(std::string_view name) const {
  return value_of(options, name);
}

std::string Recording::machine_fact(std::string_view name) const {
  return value_of(machine, name);
}

std::string Recording::label() const {
  std::string label = "slat " + command;
  const auto add = [&](const std::string& text) {
    if (!text.empty()) label += " · " + text;
  };
  add(machine_fact("accelerator"));
  add(machine_fact("vma_lock"));
  if (const std::string vcpus = machine_fact("vcpus"); !vcpus.empty())
    add(vcpus + (vcpus == "1" ? " vCPU" : " vCPUs"));
  add(short_bytes(memory.bytes));
  if (const std::string storm = option("storm"); !storm.empty()) add("storm " + storm);
  return label;
}

} // namespace slat::reporting
