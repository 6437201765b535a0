// Any file of costs for `slat bench scale`: refused in one line, or costs that the model can stand and that are the same
// when they have been written and read once more.
#include "expect.hpp"
#include "slat/scale/costs.hpp"

#include <cstdint>
#include <nlohmann/json.hpp>

using namespace slat::tool::scale;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto costs = parse_costs({reinterpret_cast<const char*>(data), size});
  if (!costs) {
    expect(!costs.error().message.empty(), "a refusal has a reason");
    expect(costs.error().message.find('\n') == std::string::npos, "in one line");
    return 0;
  }
  const auto again = parse_costs(to_json(*costs).dump());
  expect(again.has_value(), "what was written is read");
  for (std::size_t step = 0; step < step_count; ++step) {
    const double ns = costs->of[step].ns;
    expect(ns >= 0 && ns <= 1e9, "a cost is from 0 to a second");
    expect(again->of[step].ns == ns, "and stays what it is");
  }
  return 0;
}
