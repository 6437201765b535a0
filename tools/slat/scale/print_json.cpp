#include "slat/bench_report.hpp"
#include "slat/scale/print.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace slat::tool::scale {

namespace {

nlohmann::ordered_json options_of(const Options& options) {
  const Assumptions& assumed = options.assumptions;
  return {{"costs", options.costs_file.empty() ? "measured" : "file"},
          {"max_vcpus", options.extent.most_vcpus},
          {"readers", options.extent.readers},
          {"far_factor", assumed.far_factor},
          {"node_cpus", assumed.node_cpus},
          {"per_waiter", assumed.per_waiter},
          {"migratory", assumed.migratory},
          {"thread_slots", assumed.thread_slots},
          {"serial_ns", assumed.serial_ns},
          {"seed", assumed.seed}};
}

std::vector<std::string> split(const std::string& name) {
  std::vector<std::string> parts(1);
  for (const char c : name)
    if (c == '/')
      parts.emplace_back();
    else
      parts.back() += c;
  return parts;
}

nlohmann::ordered_json labels_of(const std::vector<std::string>& parts) {
  const std::string& kind = parts[0];
  const std::string& second = parts[1];
  if (kind == "published")
    return {{"series", second}, {"vcpus", std::stoi(parts[2])}, {"costs", parts[3]}};
  if (kind == "check")
    return {{"layout", second}, {"threads", std::stoi(parts[2])}, {"design", parts[3]}};
  if (kind == "uffd") return {{"vcpus", std::stoi(second)}, {"uffds", std::stoi(parts[2])}};
  if (kind == "exits") return {{"vcpus", std::stoi(second)}};
  return {{"layout", kind}, {"vcpus", std::stoi(second)}, {"design", parts[2]}};
}

} // namespace

void print_json(const Options& options, const Rounds& rounds) {
  nlohmann::ordered_json json = {
      {"schema", "slat-bench/1"},       {"bench", "scale"},
      {"version", SLAT_VERSION},        {"host", bench_host()},
      {"options", options_of(options)}, {"rounds", rounds.figures.size()}};
  json["figures"] = nlohmann::ordered_json::array();
  json["ratios"] = nlohmann::ordered_json::array();
  for (const auto& [name, first] : rounds.figures.front()) {
    std::vector<double> values;
    for (const Figures& figures : rounds.figures)
      if (const auto at = figures.find(name); at != figures.end()) values.push_back(at->second);
    const std::vector<std::string> parts = split(name);
    const bool ratio = parts[0] == "published" || parts[0] == "check";
    nlohmann::ordered_json entry = {{"name", name}};
    if (!ratio) entry["unit"] = "faults/s";
    entry["median"] = median(values);
    entry["min"] = std::ranges::min(values);
    entry["max"] = std::ranges::max(values);
    if (ratio) entry["better"] = "one"; // the model is right where it is 1
    entry["labels"] = labels_of(parts);
    json[ratio ? "ratios" : "figures"].push_back(std::move(entry));
  }
  json["costs"] = to_json(median_of(rounds.costs));
  json["notes"] = rounds.notes;
  fmt::print("{}\n", json.dump());
}

} // namespace slat::tool::scale
