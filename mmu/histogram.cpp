#include "mmu/histogram.hpp"

#include <cmath>

namespace slat::mmu {

void Histogram::add(const Histogram& other) {
  for (std::size_t i = 0; i < bucket_count; ++i)
    buckets_[i].fetch_add(other.buckets_[i].load(std::memory_order_relaxed), // sums, both
                          std::memory_order_relaxed);
}

std::uint64_t Histogram::count() const {
  std::uint64_t total = 0;
  for (const auto& bucket : buckets_)
    total += bucket.load(std::memory_order_relaxed); // a sum, not a signal
  return total;
}

std::uint64_t Histogram::percentile(double fraction) const {
  const std::uint64_t total = count();
  if (total == 0) return 0;
  const auto wanted = std::uint64_t(std::ceil(fraction * double(total)));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < bucket_count; ++i) {
    seen += buckets_[i].load(std::memory_order_relaxed); // the same
    if (seen >= wanted) return upper_bound_of(i);
  }
  return upper_bound_of(bucket_count - 1); // values arrived between the two passes
}

} // namespace slat::mmu
