// A log-linear histogram in the manner of HdrHistogram: 16 buckets to a power of two, so a reading
// is within 6.25 % of the value. Recording is one relaxed add.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace slat::mmu {

class Histogram {
 public:
  Histogram() = default;

  /// A copy of the counts as they are.
  Histogram(const Histogram& other) { add(other); }

  Histogram& operator=(const Histogram&) = delete;

  static constexpr unsigned sub_bits = 4;
  static constexpr std::size_t bucket_count = (64 - sub_bits + 1) << sub_bits;

  /// Any thread; never sleeps. Unit is the caller's (the histogram's name carries it).
  void record(std::uint64_t value) {
    buckets_[bucket_of(value)].fetch_add(1, std::memory_order_relaxed); // a sum, not a signal
  }

  /// Adds all that the other has counted.
  void add(const Histogram& other);

  [[nodiscard]] std::uint64_t count() const;

  /// Of one bucket (below bucket_count), so far.
  [[nodiscard]] std::uint64_t count_of(std::size_t bucket) const {
    return buckets_[bucket].load(std::memory_order_relaxed); // a sum, not a signal
  }

  /// The least upper bound of a bucket below which `fraction` (0..1] of all values lie; 0 if there
  /// are none.
  [[nodiscard]] std::uint64_t percentile(double fraction) const;

  [[nodiscard]] static constexpr std::size_t bucket_of(std::uint64_t value) {
    if (value < (1u << sub_bits)) return std::size_t(value);
    const unsigned exponent = 63u - unsigned(std::countl_zero(value));
    const std::uint64_t sub = (value >> (exponent - sub_bits)) - (1u << sub_bits);
    return ((std::size_t(exponent) - sub_bits + 1) << sub_bits) + std::size_t(sub);
  }

  /// The largest value that falls into the bucket.
  [[nodiscard]] static constexpr std::uint64_t upper_bound_of(std::size_t bucket) {
    if (bucket < (1u << sub_bits)) return bucket;
    const unsigned shift = unsigned(bucket >> sub_bits) - 1;
    const std::uint64_t base = (bucket & ((1u << sub_bits) - 1)) + (1u << sub_bits);
    return (base << shift) + ((std::uint64_t(1) << shift) - 1);
  }

 private:
  std::array<std::atomic<std::uint64_t>, bucket_count> buckets_{};
};

} // namespace slat::mmu
