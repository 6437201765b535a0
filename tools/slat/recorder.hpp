// Recorder: what a run did over time, for `slat report`: counters, fault latency, and where the guest's memory was. One JSON
// document at the end, of the schema "slat-record/1" (tools/README.md).
//
// What is exact: counters and histograms, but for what was being counted at that moment. What is a sample: everything over
// time; and of the memory map each page is as it was at some moment while it was looked at.
#pragma once

#include "slat/output_file.hpp"
#include "slat/thinned.hpp"
#include "vmm/machine.hpp"
#include "vmm/memory_slices.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
} // namespace CLI

namespace slat::tool {

/// Adds --record to a command.
void add_record_option(CLI::App& command, std::string& path);

/// All of it on one thread, which runs the machine (run_machine()): so it samples beside the guest, but not beside its
/// end.
class Recorder {
 public:
  using Clock = std::chrono::steady_clock;

  static constexpr std::chrono::milliseconds series_interval{100}; // of the counters
  static constexpr std::chrono::milliseconds map_interval{100};    // of memory and latency
  static constexpr std::size_t series_capacity = 1200;             // then every other sample goes
  static constexpr std::size_t map_capacity = 240;
  static constexpr std::size_t slices = 512;      // of guest memory
  static constexpr std::size_t listed_vmas = 512; // of one step; more are counted
  static constexpr unsigned rest = 20; // one CPU's time between two of those, by that of the first

  /// Page visits of the guest so far, if it tells.
  using PageVisits = std::function<std::optional<std::uint64_t>()>;

  /// An empty path: no recording, and nothing else does anything.
  explicit Recorder(const std::string& path) : is_on_(!path.empty()), file_("--record", path) {}

  [[nodiscard]] bool is_on() const { return is_on_; }

  /// Opens the file. Before the machine is made. Errors: no_permission, host_failed.
  vmm::Result<void> open();
  /// Just before the run; the machine outlives the recorder.
  void start(vmm::Machine& machine, PageVisits visits = {});
  /// As often as run_machine() likes: takes the samples that are due. Takes the mm read lock for a copy of the list of VMAs,
  /// and no other lock.
  void tick();
  /// After the run. `head` (what was run: command, options) and `end` (verdict, statistics) become members of the
  /// document. Errors: no_permission, host_failed: nothing useful is in the file then.
  vmm::Result<void> write(const nlohmann::ordered_json& head, const nlohmann::ordered_json& end);

 private:
  using Duration = Clock::duration;

  struct Point {
    std::vector<std::uint64_t> values; // by series_names()
  };

  struct Vma {
    std::uint64_t start, end; // guest physical
    std::uint32_t flags;      // mmu::VmFlags

    bool operator==(const Vma&) const = default;
  };

  struct Step {
    std::vector<vmm::MemorySlice> memory;
    std::vector<Vma> vmas;
    std::size_t vma_count = 0;
    std::vector<std::uint64_t> latency; // faults so far, by coarse bucket
  };

  void add_point(Duration now);
  void add_step(Duration now);
  [[nodiscard]] std::optional<vmm::MemoryMap> sample_map(Step& step);
  [[nodiscard]] nlohmann::ordered_json series() const;
  [[nodiscard]] nlohmann::ordered_json latency_series() const;
  [[nodiscard]] nlohmann::ordered_json memory() const;

  const bool is_on_;
  OutputFile file_;
  vmm::Machine* machine_ = nullptr;
  PageVisits visits_;
  Clock::time_point start_{};
  std::string kernel_release_;
  std::string began_; // date and time, UTC
  unsigned host_cpus_ = 0;
  Thinned<Point> points_{series_interval, series_capacity};
  Thinned<Step> steps_{map_interval, map_capacity};
};

} // namespace slat::tool
