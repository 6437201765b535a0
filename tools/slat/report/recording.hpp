// A recording (slat-record/1), read and checked: what `slat stress --record` and `slat boot --record` write.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slat::reporting {

/// Names and values as they are shown, in the document's order.
using Pairs = std::vector<std::pair<std::string, std::string>>;

struct Latency {
  struct Bucket {
    double upper_ns; // the largest value in it
    double count;    // above 0
  };

  unsigned one_in = 1;         // of so many events one was timed
  std::vector<Bucket> buckets; // ascending

  [[nodiscard]] double count() const;
  /// The bucket's bound below which `fraction` (0..1] of all lie; 0 if there are none.
  [[nodiscard]] double percentile(double fraction) const;
};

struct Series {
  struct Column {
    std::string name;
    std::vector<double> values; // one for each time
  };

  std::vector<double> time_s; // ascending
  std::vector<Column> columns;

  [[nodiscard]] const Column* find(std::string_view name) const;
  /// The same as a rate: by the second, between each time and the one before; a value less than there are times.
  [[nodiscard]] std::vector<double> rate(const Column& column) const;
};

struct LatencySeries {
  std::vector<double> time_s;
  std::vector<double> upper_ns;            // ascending
  std::vector<std::vector<double>> counts; // by time and bucket: so far
};

struct MemorySteps {
  struct Range {
    double start, size; // bytes
  };

  struct Vma {
    double start, end; // guest physical, bytes
    std::string access;

    bool operator==(const Vma&) const = default;
  };

  struct Step {
    double time_s = 0;
    double vma_count = 0;
    std::vector<Vma> vmas;                    // some of them
    std::vector<std::vector<double>> pages{}; // by state and slice; empty: none is
    std::vector<double> huge;                 // the same
  };

  double bytes = 0;
  std::vector<Range> ranges; // ascending, apart; of all bytes
  std::size_t slices = 0;
  bool from_table = false;
  std::vector<std::string> states; // the first one is "absent"
  std::vector<Step> steps;

  /// Where a byte of the RAM, counted without holes, is in guest physical memory.
  [[nodiscard]] double address_of(double offset) const;
  /// The other way; of an address in a hole, where the hole is.
  [[nodiscard]] double offset_of(double address) const;
};

struct Recording {
  std::string command, version, began;
  Pairs options, host, machine, stats;
  std::string verdict;
  double exit_code = 0, seconds = 0;
  Latency faults, invalidations;
  Series series;
  LatencySeries latency_series;
  MemorySteps memory;

  /// A value of the statistics, as shown; empty if there is none.
  [[nodiscard]] std::string stat(std::string_view name) const;
  [[nodiscard]] std::string option(std::string_view name) const;
  [[nodiscard]] std::string machine_fact(std::string_view name) const;
  /// What was run, in a few words.
  [[nodiscard]] std::string label() const;
};

} // namespace slat::reporting
