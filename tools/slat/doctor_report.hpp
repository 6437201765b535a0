// What the facts of a host mean for slat: one finding a line, and a verdict. Pure.
#pragma once

#include "slat/doctor_facts.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace slat::tool {

enum class Status {
  ok,
  degraded, // slat runs, with less: the finding says what is lost
  missing,  // slat cannot run without it
};

[[nodiscard]] std::string_view to_string(Status status);

struct Check {
  std::string_view area; // kvm, userfaultfd, memory, limits, cpu, host
  std::string_view name; // for programs; unique within its area
  Status status = Status::ok;
  std::string finding = {}; // one line
  std::string mend = {};    // one line; empty if ok
  bool permission = false;  // missing for lack of permission only
};

struct Verdict {
  Status status = Status::ok;     // the worst of the checks
  bool boots_own_guests = false;  // on KVM
  bool boots_in_software = false; // them, on software vCPUs
  bool serves_faults = false;
  bool boots_linux = false;
  std::string why_not_linux = {}; // empty if it does
};

struct Report {
  std::string kernel_release;
  std::vector<Check> checks; // by area, in the order of Check::area
  Verdict verdict;
};

/// Never fails; does not sleep.
[[nodiscard]] Report judge(const HostFacts& facts);

/// 0 if nothing is missing, 77 if all that is missing is permission, else 69.
[[nodiscard]] int exit_code_of(const Report& report);

/// "1.5 GiB", "512 MiB", "17 bytes": for people, rounded to a tenth.
[[nodiscard]] std::string human_bytes(std::uint64_t bytes);

namespace doctor_detail {

// One area each; append to `checks`.
void judge_kvm(const HostFacts& facts, std::vector<Check>& checks);
void judge_userfaultfd(const UffdFacts& facts, std::vector<Check>& checks);
void judge_memory(const MemoryFacts& facts, std::vector<Check>& checks);
void judge_limits(const LimitFacts& facts, std::vector<Check>& checks);
void judge_cpu(const CpuFacts& facts, std::vector<Check>& checks);

/// An error line of kvm/ is "what: why; how to mend": its parts, with `mend` where it names none.
struct Parts {
  std::string finding;
  std::string mend;
};

[[nodiscard]] Parts parts_of(const kvm::Error& error, std::string_view mend);

} // namespace doctor_detail

} // namespace slat::tool
