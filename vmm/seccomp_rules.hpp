// The system calls that each kind of thread may make. Read by the build alone (seccomp_compiler.cpp) and by tests; what
// a thread loads is compiled from it.
#pragma once

#include "vmm/seccomp.hpp"

#include <cstdint>
#include <optional>
#include <vector>

namespace slat::vmm {

/// Stands for this process' id, which the build cannot know: put in when a filter is loaded. No pid is as large.
inline constexpr std::uint32_t own_pid = 0x5eccu << 16 | 0x71d5u;

/// The call is meant only if (argument & mask) == value.
struct SeccompCondition {
  unsigned argument; // 0 to 5
  std::uint64_t mask;
  std::uint64_t value;
};

struct SeccompRule {
  int call; // SYS_*
  int error; // 0: the call is made; else it fails with this errno, for what libraries try and can do without
  std::optional<SeccompCondition> condition = {};

  friend bool operator==(const SeccompRule& a, const SeccompRule& b) {
    return a.call == b.call && a.error == b.error &&
           a.condition.has_value() == b.condition.has_value() &&
           (!a.condition ||
            (a.condition->argument == b.condition->argument &&
             a.condition->mask == b.condition->mask && a.condition->value == b.condition->value));
  }
};

/// Without duplicates. All else is refused.
[[nodiscard]] std::vector<SeccompRule> seccomp_rules(ThreadKind kind);

} // namespace slat::vmm
