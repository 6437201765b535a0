#include "slat/storm_keeper.hpp"

#include <numeric>

namespace slat::tool {

vmm::Controlled::StormOrder order_of(const std::string& kinds, const vmm::StormOptions& options) {
  return {.kinds = kinds, .rate = options.rate, .pages = options.max_pages};
}

std::uint64_t StormKeeper::Totals::all_ranges() const {
  return std::accumulate(ranges.begin(), ranges.end(), std::uint64_t(0));
}

vmm::Result<void> StormKeeper::start(const vmm::Controlled::StormOrder& order) {
  if (storm_ && storm_->has_failed()) collect();
  if (storm_)
    return vmm::fail(vmm::Errc::invalid_argument, 0,
                     "a storm is running already; end that one first (slat ctl storm off)");
  auto kinds = parse_storm(order.kinds, setup_.means);
  if (!kinds) return vmm::forward(kinds);
  last_ = {.running = true, .kinds = order.kinds, .rate = order.rate, .pages = order.pages};
  storm_.emplace(*machine_, vmm::StormOptions{.seed = setup_.seed + totals_.storms,
                                              .rate = unsigned(order.rate),
                                              .max_pages = order.pages,
                                              .given_up = setup_.given_up,
                                              .kinds = std::move(*kinds)});
  ++totals_.storms;
  return {};
}

vmm::Result<void> StormKeeper::end() {
  const bool running = storm_ && !storm_->has_failed();
  if (storm_) collect();
  if (!running) return vmm::fail(vmm::Errc::invalid_argument, 0, "no storm is running");
  return {};
}

const StormKeeper::Totals& StormKeeper::finish() {
  if (storm_) collect();
  return totals_;
}

vmm::Controlled::StormState StormKeeper::state() {
  if (storm_ && storm_->has_failed()) collect();
  if (storm_) last_.ranges = storm_->ranges();
  return last_;
}

void StormKeeper::collect() {
  last_.error = storm_->finish();
  last_.ranges = storm_->ranges();
  last_.running = false;
  if (totals_.error.empty()) totals_.error = last_.error;
  for (std::size_t i = 0; i < vmm::storm_kinds; ++i)
    totals_.ranges[i] += storm_->ranges(vmm::StormKind(i));
  totals_.discarded_pages += storm_->discarded_pages();
  totals_.unwritten_pages += storm_->unwritten_pages();
  storm_.reset();
}

} // namespace slat::tool
