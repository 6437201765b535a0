// Any file for `slat bench mmu --compare`: refused in one line, or ratios that are the same when a run that had them is
// printed and read, and that are no worse than themselves.
#include "expect.hpp"
#include "slat/bench_compare.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

using namespace slat::tool;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto parsed = parse_baseline({reinterpret_cast<const char*>(data), size}, "mmu");
  if (const auto* const why = std::get_if<std::string>(&parsed)) {
    expect(!why->empty() && why->size() < 1000, "a refusal says why, in a few words");
    expect(std::ranges::none_of(*why, [](char c) { return std::uint8_t(c) < 0x20; }),
           "a refusal is one line");
    return 0;
  }
  const auto& baseline = std::get<Baseline>(parsed);
  BenchReport report{.bench = "mmu"};
  std::size_t comparable = 0;
  for (const auto& [name, median] : baseline) {
    expect(std::isfinite(median), "a ratio is a number");
    report.ratios.push_back({name, {median}});
    comparable += median != 0 ? 1 : 0;
  }
  const auto again = parse_baseline(to_json(report).dump(), "mmu");
  expect(std::holds_alternative<Baseline>(again), "what was printed is read");
  expect(std::get<Baseline>(again) == baseline, "and is the same");
  const std::vector<Change> changes = compare(report, baseline, 0);
  expect(changes.size() == comparable, "every ratio is compared, but with 0");
  for (const Change& change : changes) expect(!change.regressed, "nothing is worse than itself");
  expect(!to_text(changes).empty(), "and the table can be printed");
  return 0;
}
