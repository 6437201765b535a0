// The stages of stage-2 tables (after the kernel's kvm_page_table_test), and memory that is unmapped under a guest.
#include "mmu/stage2/checker.hpp"
#include "mmu/stage2/stage2_reshape.hpp"
#include "mmu/stage2/stage2_visit.hpp"
#include "mmu/stage2/stage2_zap.hpp"
#include "slat/inval_guest.hpp"

#include <array>
#include <fmt/format.h>

namespace slat::tool {

namespace {

using Clock = std::chrono::steady_clock;
using Table = vmm::SoftMemory::Table;

struct Leaves {
  std::uint64_t pages = 0; // 4 KiB each
  std::uint64_t small = 0; // leaves of 4 KiB
  std::uint64_t wrong = 0; // pages that lead elsewhere than their region's host view
};

Leaves look_at(const Table& table, vmm::GuestRam& ram) {
  Leaves leaves;
  for (const vmm::GuestRam::Region& region : ram.regions()) {
    const auto host = reinterpret_cast<std::uintptr_t>(region.backing->host_view(0));
    table.for_each_leaf(region.gpa.start, region.gpa.start + region.gpa.size,
                        [&](const auto& leaf) {
                          leaves.pages += leaf.bytes / 4096;
                          leaves.small += leaf.level == 1 ? 1 : 0;
                          if (leaf.host - host != leaf.address - region.gpa.start)
                            leaves.wrong += leaf.bytes / 4096;
                        });
  }
  return leaves;
}

} // namespace

InvalOutcome inval_page_table(const InvalCell& cell, InvalContext& context) {
  if (cell.accel != vmm::Accel::soft)
    return InvalOutcome::skipped("the stage-2 tables are the kernel's; --accel soft has its own");
  auto made = InvalGuest::make(cell, "", 0, 512);
  if (!made) return no_machine(made.error());
  vmm::GuestRam& ram = (*made)->ram();
  Table& table = (*made)->machine().accelerator().soft_memory()->table();
  const std::uint64_t all = cell.memory / 4096;
  constexpr std::uint64_t huge = 2 << 20;
  InvalOutcome outcome;

  struct Stage {
    std::string_view name;
    mmu::Result<void> (*apply)(Table&, vmm::GuestRam&);
    bool mapped; // all pages afterwards, or none
    bool small;  // by leaves of 4 KiB only
  };

  const auto each = [](vmm::GuestRam& memory, mmu::Advice advice) -> mmu::Result<void> {
    for (const vmm::GuestRam::Region& region : memory.regions())
      if (auto ok = memory.mm().advise(region.guest_view, region.gpa.size, advice); !ok) return ok;
    return {};
  };
  static const auto advise_all = each;
  const std::array<Stage, 5> stages = {
      Stage{"populate",
            [](Table&, vmm::GuestRam& memory) { return advise_all(memory, mmu::Advice::populate); },
            true, false},
      Stage{"split",
            [](Table& tables, vmm::GuestRam& memory) -> mmu::Result<void> {
              for (const vmm::GuestRam::Region& region : memory.regions())
                if (auto ok =
                        tables.split_range(region.gpa.start, region.gpa.start + region.gpa.size);
                    !ok)
                  return ok;
              return {};
            },
            true, true},
      Stage{"write_protect",
            [](Table& tables, vmm::GuestRam& memory) -> mmu::Result<void> {
              for (const vmm::GuestRam::Region& region : memory.regions())
                (void)tables.protect_range(region.gpa.start, region.gpa.start + region.gpa.size);
              return {};
            },
            true, true},
      Stage{"collapse",
            [](Table& tables, vmm::GuestRam& memory) -> mmu::Result<void> {
              const mmu::InvalidateSeq& sequence = memory.mm().notifiers().sequence();
              for (const vmm::GuestRam::Region& region : memory.regions())
                for (std::uint64_t at = 0; at + huge <= region.gpa.size; at += huge)
                  (void)tables.collapse(region.gpa.start + at, region.guest_view + at, 2, sequence);
              return {};
            },
            true, false},
      Stage{"zap",
            [](Table&, vmm::GuestRam& memory) { return advise_all(memory, mmu::Advice::dontneed); },
            false, false},
  };
  for (const Stage& stage : stages) {
    if (context.interrupted()) return {InvalOutcome::Verdict::interrupted, "interrupted"};
    context.show(std::string(stage.name));
    const auto start = Clock::now();
    if (auto ok = stage.apply(table, ram); !ok)
      return InvalOutcome::failed(fmt::format("{}: {}", stage.name, ok.error().message));
    const double ns = std::chrono::duration<double, std::nano>(Clock::now() - start).count();
    outcome.figures.emplace_back(fmt::format("{}_ns_per_page", stage.name), ns / double(all));
    const Leaves leaves = look_at(table, ram);
    if (leaves.wrong != 0)
      return InvalOutcome::failed(
          fmt::format("{}: {} pages lead elsewhere (I33)", stage.name, leaves.wrong));
    if (leaves.pages != (stage.mapped ? all : 0))
      return InvalOutcome::failed(
          fmt::format("{}: {} of {} pages are mapped", stage.name, leaves.pages, all));
    if (stage.small && leaves.small != all)
      return InvalOutcome::failed(
          fmt::format("{}: only {} of {} leaves are small", stage.name, leaves.small, all));
    if (const auto good = mmu::stage2::check_table(table); !good)
      return InvalOutcome::failed(fmt::format("{}: the table is not consistent", stage.name));
  }
  return outcome;
}

InvalOutcome inval_unmap_in_use(const InvalCell& cell, InvalContext& context) {
  auto made = InvalGuest::make(cell, "");
  if (!made) return no_machine(made.error());
  InvalGuest& guest = **made;
  if (!guest.start(context)) return guest.finish(context);
  const vmm::GuestRam::Region& region = guest.ram().regions().front();
  const auto start = Clock::now();
  // KVM's slot stays, and names nothing, so KVM_RUN fails. Without a slot the code that the guest executes would be MMIO,
  // and KVM with nested paging then tries for ever to deliver an exception through an IDT that is not there either.
  if (auto ok = guest.ram().mm().unmap(region.guest_view, region.gpa.size); !ok)
    return InvalOutcome::failed(ok.error().message);
  const double unmap_us = std::chrono::duration<double, std::micro>(Clock::now() - start).count();
  InvalOutcome outcome = guest.finish(context, false);
  if (outcome.verdict == InvalOutcome::Verdict::interrupted) return outcome;
  if (guest.end().reason != vmm::MachineEnd::Reason::crashed || guest.end().report.empty())
    return InvalOutcome::failed("a guest whose memory is gone did not end with a report");
  outcome = {};
  outcome.figures = {{"unmap_us", unmap_us}};
  return outcome;
}

} // namespace slat::tool
