// What a memstress run leaves behind, as two numbers: equal for equal runs, whatever executed them.
#pragma once

#include "guests/memory_plan.hpp"
#include "vmm/machine.hpp"

#include <cstdint>
#include <vector>

namespace slat::tool {

/// What the guest's command line said.
struct MemstressShape {
  std::uint64_t mib; // 0: all
  std::uint64_t shared_pages;
};

/// The private tested pages, ascending; empty if the guest cannot have made a plan with this shape.
std::vector<guest::PageRange> tested_pages(vmm::Machine& machine, const MemstressShape& shape);

/// Of the tested pages, private and shared, and of the generations that the guest expects in them. Not of the ledgers,
/// which tell who came first. The guest has ended. May sleep. Errors: those of GuestRam::read().
vmm::Result<std::uint64_t> memory_digest(vmm::Machine& machine, const MemstressShape& shape);

/// Of all of the mailbox but the frequency of the TSC.
[[nodiscard]] std::uint64_t mailbox_digest(const guest::Mailbox& mailbox);

} // namespace slat::tool
