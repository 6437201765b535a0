// Documents for tests of the report: small ones that are right, to be changed.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace slat::reporting::test {

using Json = nlohmann::ordered_json;

/// Two ranges of RAM with a hole, four slices of two pages each, three steps.
inline Json recording() {
  return Json::parse(R"({
    "schema": "slat-record/1", "version": "0.1.0", "command": "stress", "began": "2026-01-02T03:04:05Z",
    "options": {"storm": "zap", "seed": 1}, "host": {"cpus": 2, "kernel": "6.1.0"},
    "machine": {"accelerator": "soft", "vcpus": 2, "memory_bytes": 32768, "vma_lock": "spf"},
    "stats": {"verdict": "PASS", "exit_code": 0, "seconds": 2.5, "stage2_fault_count": 12345,
              "reclaim_store": {"pages": 7}},
    "latency": {
      "fault_latency_ns": {"one_in": 16, "buckets": [[99, 50], [199, 40], [999, 9], [9999, 1]]},
      "invalidate_latency_ns": {"one_in": 1, "buckets": []}},
    "series": {"interval_s": 0.1, "time_s": [0, 0.5, 1.5, 2.5], "stage2_fault_count": [0, 100, 300, 300],
               "resident_bytes": [0, 8192, 16384, 16384]},
    "latency_series": {"time_s": [0, 1, 2.5], "upper_ns": [127, 1023],
                       "counts": [[0, 0], [10, 1], [30, 1]]},
    "memory": {
      "bytes": 32768, "ranges": [[0, 16384], [4294967296, 16384]], "slices": 4, "from_table": true,
      "states": ["absent", "reclaimed", "dirty"], "interval_s": 1,
      "steps": [
        {"time_s": 0, "vma_count": 1, "vmas": [[0, 16384, "rw-"]], "pages": {"absent": [2, 2, 2, 2]}},
        {"time_s": 1, "vma_count": 2, "vmas": [[0, 8192, "rw-"], [8192, 16384, "r--"]],
         "pages": {"absent": [0, 1, 2, 2], "dirty": [2, 1, 0, 0]}},
        {"time_s": 2.5, "vma_count": 2, "pages": {"dirty": [2, 2, 1, 0], "reclaimed": [0, 0, 1, 2],
                                                  "huge": [2, 0, 0, 0]}}]}
  })");
}

inline Json bench() {
  return Json::parse(R"({
    "schema": "slat-bench/1", "bench": "mmu", "version": "0.1.0", "host": {"cpus": 2}, "options": {"rounds": 5},
    "figures": [{"name": "lookup/1/mmap-lock", "unit": "operations/s", "median": 1e7, "min": 9e6, "max": 1.1e7,
                 "labels": {"workload": "lookup", "threads": 1, "design": "mmap-lock"}}],
    "ratios": [{"name": "lookup/1/spf:mmap-lock", "median": 1.7, "min": 1.6, "max": 1.8, "better": "higher",
                "goal": 0.95, "labels": {"workload": "lookup", "threads": 1, "design": "spf"}},
               {"name": "lookup/1/vma-rwsem:mmap-lock", "median": 0.5, "min": 0.4, "max": 0.6, "better": "higher",
                "goal": 0.95, "labels": {"workload": "lookup", "threads": 1, "design": "vma-rwsem"}}]
  })");
}

} // namespace slat::reporting::test
