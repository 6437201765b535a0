#include "slat/scale/costs.hpp"

#include "vmm/printable.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <vector>

namespace slat::tool::scale {

namespace {

struct Known {
  std::string_view name;
  double assumed_ns; // what a server processor of the last years needs, roughly
  std::string_view text;
};

constexpr Known known[] = {
    {"rmw_ns", 5, "add to a line that nobody else uses"},
    {"transfer_ns", 60, "line from processor to processor"},
    {"keep_ns", 20, "how long the other one keeps it first"},
    {"srcu_ns", 3, "SRCU section"},
    {"lookup_ns", 15, "VMA of an address, among 1000"},
    {"fault_mmap_lock_ns", 120, "fault on a present page, mmap-lock"},
    {"fault_spf_ns", 120, "the same, spf"},
    {"fault_vma_rwsem_ns", 120, "the same, vma-rwsem"},
    {"fault_vma_refcount_ns", 120, "the same, vma-refcount"},
    {"install_ns", 60, "page into the software stage-2"},
    {"host_fault_ns", 700, "first touch of an anonymous page"},
    {"uffd_poll_ns", 300, "poll() where there is an event"},
    {"uffd_read_ns", 400, "read() of an event"},
    {"uffd_continue_ns", 600, "UFFDIO_CONTINUE of a page"},
    {"uffd_wake_ns", 200, "UFFDIO_WAKE where nobody waits"},
    {"uffd_walk_ns", 10, "each other that waits, in a wake"},
    {"uffd_rouse_ns", 800, "the thread that is woken, in a wake"},
    {"uffd_round_ns", 6600, "touch to touched, 1 thread, 1 server"},
    {"vm_exit_ns", 1500, "out of KVM_RUN and in again"},
};
static_assert(std::size(known) == step_count);

vmm::Result<void> take(Costs& costs, const std::string& name, const nlohmann::json& value) {
  const auto at = std::find_if(std::begin(known), std::end(known),
                               [&](const Known& entry) { return entry.name == name; });
  if (at == std::end(known))
    return vmm::fail(vmm::Errc::invalid_argument, 0,
                     fmt::format("there is no cost '{}'; --save-costs writes all of them",
                                 vmm::printable(name)));
  if (!value.is_number() || !(value.get<double>() >= 0) || value.get<double>() > 1e9)
    return vmm::fail(vmm::Errc::invalid_argument, 0,
                     fmt::format("cost '{}': give nanoseconds from 0 to 1e9", name));
  costs.set(Step(at - std::begin(known)), value.get<double>(), Source::file);
  return {};
}

} // namespace

Costs::Costs() {
  for (std::size_t step = 0; step < step_count; ++step) of[step] = {known[step].assumed_ns};
}

double Costs::switch_ns() const {
  const Costs& c = *this;
  const double steps =
      c[host_fault] + c[uffd_poll] + c[uffd_read] + c[uffd_continue] + c[uffd_wake] + c[uffd_rouse];
  return std::max(0., (c[uffd_round] - steps) / 2);
}

std::string_view name_of(Step step) {
  return known[step].name;
}

std::string_view describe(Step step) {
  return known[step].text;
}

std::string_view to_string(Source source) {
  constexpr std::string_view names[] = {"assumed", "measured", "file"};
  return names[std::size_t(source)];
}

nlohmann::ordered_json to_json(const Costs& costs) {
  nlohmann::ordered_json json = {{"schema", "slat-costs/1"}};
  for (std::size_t step = 0; step < step_count; ++step) {
    json["costs"][std::string(known[step].name)] = costs.of[step].ns;
    json["sources"][std::string(known[step].name)] = to_string(costs.of[step].source);
  }
  return json;
}

vmm::Result<Costs> parse_costs(std::string_view text) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return vmm::fail(vmm::Errc::invalid_argument, 0, "not a JSON object");
  const auto schema = json.find("schema");
  if (schema == json.end() || *schema != "slat-costs/1")
    return vmm::fail(vmm::Errc::invalid_argument, 0,
                     "its schema is not \"slat-costs/1\"; --save-costs writes such a file");
  const auto values = json.find("costs");
  if (values == json.end() || !values->is_object())
    return vmm::fail(vmm::Errc::invalid_argument, 0, "it has no object \"costs\"");
  Costs costs;
  for (const auto& [name, value] : values->items())
    if (auto ok = take(costs, name, value); !ok) return vmm::forward(ok);
  return costs;
}

Costs median_of(std::span<const Costs> costs) {
  Costs middle = costs.front();
  for (std::size_t step = 0; step < step_count; ++step) {
    std::vector<double> values;
    for (const Costs& each : costs) values.push_back(each.of[step].ns);
    std::sort(values.begin(), values.end());
    middle.of[step].ns = values[(values.size() - 1) / 2];
  }
  return middle;
}

} // namespace slat::tool::scale
