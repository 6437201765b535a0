#include "mmu/histogram.hpp"

#include "support.hpp"

#include <algorithm>
#include <cmath>
#include <random>

namespace slat::mmu {
namespace {

std::vector<std::uint64_t> interesting_values() {
  std::vector<std::uint64_t> values;
  for (std::uint64_t value = 0; value < 5000; ++value) values.push_back(value);
  for (unsigned bit = 4; bit < 64; ++bit)
    for (const std::uint64_t sub : {0u, 1u, 7u, 15u}) {
      const std::uint64_t edge = (std::uint64_t(1) << bit) + (sub << (bit - 4));
      for (const std::uint64_t value : {edge - 1, edge, edge + 1}) values.push_back(value);
    }
  values.push_back(~std::uint64_t(0));
  return values;
}

TEST(Histogram, every_value_falls_into_the_bucket_that_covers_it) {
  for (const std::uint64_t value : interesting_values()) {
    const std::size_t bucket = Histogram::bucket_of(value);
    ASSERT_LT(bucket, Histogram::bucket_count);
    ASSERT_LE(value, Histogram::upper_bound_of(bucket)) << value;
    if (bucket > 0) {
      ASSERT_GT(value, Histogram::upper_bound_of(bucket - 1)) << value;
    }
  }
}

TEST(Histogram, buckets_are_exact_below_16_and_within_a_sixteenth_above) {
  for (std::size_t bucket = 0; bucket < Histogram::bucket_count; ++bucket) {
    const std::uint64_t upper = Histogram::upper_bound_of(bucket);
    ASSERT_EQ(Histogram::bucket_of(upper), bucket);
    if (upper != ~std::uint64_t(0)) {
      ASSERT_EQ(Histogram::bucket_of(upper + 1), bucket + 1);
    }
    const std::uint64_t lower = bucket == 0 ? 0 : Histogram::upper_bound_of(bucket - 1) + 1;
    if (bucket < 16) {
      ASSERT_EQ(lower, upper);
    }
    ASSERT_LE(double(upper - lower), 0.0625 * double(lower));
  }
  EXPECT_EQ(Histogram::upper_bound_of(Histogram::bucket_count - 1), ~std::uint64_t(0));
}

TEST(Histogram, percentiles_are_within_a_sixteenth_of_the_exact_ones) {
  std::mt19937_64 random(7);
  std::lognormal_distribution<double> latencies(9.0, 2.0);
  Histogram histogram;
  std::vector<std::uint64_t> values;
  for (int i = 0; i < 20000; ++i) {
    values.push_back(std::uint64_t(latencies(random)));
    histogram.record(values.back());
  }
  std::sort(values.begin(), values.end());
  for (const double fraction : {0.001, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0}) {
    const auto rank = std::size_t(std::ceil(fraction * double(values.size())));
    const std::uint64_t exact = values[rank - 1];
    const std::uint64_t got = histogram.percentile(fraction);
    EXPECT_GE(got, exact) << fraction;
    EXPECT_LE(double(got), 1.0625 * double(exact)) << fraction;
  }
}

TEST(Histogram, empty_one_is_zero) {
  const Histogram histogram;
  EXPECT_EQ(histogram.count(), 0u);
  EXPECT_EQ(histogram.percentile(0.5), 0u);
}

TEST(Histogram, single_value_is_every_percentile) {
  Histogram histogram;
  histogram.record(11);
  for (const double fraction : {0.0001, 0.5, 1.0}) EXPECT_EQ(histogram.percentile(fraction), 11u);
}

TEST(Histogram, no_record_of_any_thread_is_lost) {
  Histogram histogram;
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (std::uint64_t i = 0; i < 10000; ++i) histogram.record(t * 1000);
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(histogram.count(), 40000u);
  EXPECT_EQ(histogram.percentile(0.25), 0u);
  EXPECT_GE(histogram.percentile(0.2501), 1000u);
}

TEST(Histogram, sum_has_the_values_of_both) {
  Histogram one, other;
  for (const std::uint64_t value : {1u, 5u, 5u}) one.record(value);
  for (const std::uint64_t value : {5u, 9u}) other.record(value);
  one.add(other);
  EXPECT_EQ(one.count(), 5u);
  EXPECT_EQ(one.percentile(0.2), 1u);
  EXPECT_EQ(one.percentile(0.8), 5u);
  EXPECT_EQ(one.percentile(1), 9u);
  EXPECT_EQ(Histogram(one).count(), 5u) << "a copy";
}

} // namespace
} // namespace slat::mmu
