// slat inval: tests of invalidation on live guests. A test is a function from a cell of the matrix (accelerator, design of
// VMA locks) to an outcome with figures.
#pragma once

#include "slat/progress.hpp"
#include "vmm/accelerator.hpp"

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slat::tool {

struct InvalCell {
  vmm::Accel accel = vmm::Accel::kvm;
  mmu::VmaLockDesign vma_lock = mmu::VmaLockDesign::vma_refcount;
  std::uint64_t memory = 64 << 20; // bytes of guest RAM
  unsigned cpus = 2;
  std::uint64_t seed = 1;
  double seconds = 1; // of work under stress, where a test has no end of its own
  std::string kvm_device = "/dev/kvm";
  vmm::SeccompMode seccomp = vmm::SeccompMode::on; // main makes machines, and is not confined
};

struct InvalOutcome {
  enum class Verdict { passed, failed, skipped, interrupted };
  Verdict verdict = Verdict::passed;
  std::string why = {};                                     // not passed: one line
  std::vector<std::pair<std::string, double>> figures = {}; // names with units

  static InvalOutcome failed(std::string why) { return {Verdict::failed, std::move(why)}; }

  static InvalOutcome skipped(std::string why) { return {Verdict::skipped, std::move(why)}; }
};

/// What a running test says and asks.
class InvalContext {
 public:
  /// Shown behind the name of the test.
  void show(const std::string& line) { progress_.show(prefix + line); }

  /// Ctrl-C or SIGTERM has come: end soon.
  [[nodiscard]] bool interrupted();

  void clear() { progress_.clear(); }

  std::string prefix;

 private:
  Progress progress_;
};

struct InvalTest {
  std::string_view name;
  std::string_view what; // one line
  InvalOutcome (*run)(const InvalCell& cell, InvalContext& context);
};

/// All of them, in the order in which they run.
[[nodiscard]] std::span<const InvalTest> inval_tests();

// The tests, by file.
InvalOutcome inval_demand_paging_missing(const InvalCell& cell, InvalContext& context);
InvalOutcome inval_demand_paging_minor(const InvalCell& cell, InvalContext& context);
InvalOutcome inval_access_tracking(const InvalCell& cell, InvalContext& context);
InvalOutcome inval_dirty_log(const InvalCell& cell, InvalContext& context);
InvalOutcome inval_page_table(const InvalCell& cell, InvalContext& context);
InvalOutcome inval_unmap_in_use(const InvalCell& cell, InvalContext& context);

} // namespace slat::tool
