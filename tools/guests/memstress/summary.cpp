#include "guests/memstress/summary.hpp"

#include "guests/abi.hpp"
#include "guests/memstress/stress.hpp"
#include "guests/runtime/print.hpp"

namespace slat::guest {
namespace {

const char* name_of(Order order) {
  switch (order) {
  case Order::seq:
    return "seq";
  case Order::stride:
    return "stride";
  case Order::random:
    return "random";
  default:
    return "mix";
  }
}

void print_mismatch() {
  const MismatchRecord& record = slat_mailbox.first_mismatch;
  if (load_acquire(record.valid) == 0) return; // pairs with the store_release in publish
  const auto kind = static_cast<Kind>(record.kind);
  Line line;
  line.put(Text{"memstress: first mismatch: "});
  line.put(Text{to_string(kind)});
  line.put(Text{kind == Kind::counter ? " in the shared page at " : " page at "});
  line.put(Hex{record.guest_address});
  line.put(Text{", offset "});
  line.put(std::uint64_t{record.offset});
  line.put(Text{": expected "});
  line.put(Hex{record.expected, 16});
  if (kind != Kind::counter) {
    line.put(Text{" (generation "});
    line.put(std::uint64_t{record.generation});
    line.put(Text{")"});
  }
  line.put(Text{", found "});
  line.put(Hex{record.found, 16});
  if (record.found_page != 0) {
    line.put(Text{" (page "});
    line.put(Hex{record.found_page});
    line.put(Text{" generation "});
    line.put(std::uint64_t{record.found_generation});
    line.put(Text{")"});
  }
  line.put(Text{", vCPU "});
  line.put(std::uint64_t{record.vcpu});
  if (record.transient != 0) line.put(Text{", gone when read again"});
}

} // namespace

void print_start() {
  const MemstressOptions& o = stress.options;
  if (o.quiet) return;
  const std::uint64_t pages = stress.plan.private_pages + stress.plan.shared_pages;
  const char* vcpus = stress.vcpus == 1 ? " vCPU" : " vCPUs";
  if (o.touch) {
    print_line("memstress: touching ", pages / 256, " MiB in ", stress.plan.private_pages,
               " pages on ", std::uint64_t{stress.vcpus}, vcpus, ", order ", name_of(o.order),
               o.overlap ? ", each on all of them" : "");
    return;
  }
  print_line("memstress: ", pages / 256, " MiB in ", pages, " pages, ", o.shared_pages,
             " of them shared, ", std::uint64_t{stress.vcpus}, vcpus, ", order ", name_of(o.order),
             ", write ", o.write_percent, " %, seed ", o.seed);
}

std::uint32_t print_verdict(std::uint64_t run_ticks, bool counters_good) {
  VcpuSlot sum{};
  std::uint64_t fewest_passes = UINT64_MAX;
  for (std::uint32_t i = 0; i < stress.vcpus; ++i) {
    const VcpuSlot& slot = slat_mailbox.slots[i];
    sum.pages += load_relaxed(slot.pages);
    sum.accesses += load_relaxed(slot.accesses);
    sum.verified += load_relaxed(slot.verified);
    sum.mismatches += load_relaxed(slot.mismatches);
    const std::uint64_t passes = load_relaxed(slot.passes);
    if (passes < fewest_passes) fewest_passes = passes;
  }
  print_mismatch();
  if (sum.mismatches == 0 && counters_good && stress.options.quiet) return exit_good;
  const bool good = sum.mismatches == 0 && counters_good;
  {
    Line line;
    const auto put = [&line](const auto&... parts) { (line.put(parts), ...); };
    put("memstress: ", good ? "PASS" : "FAIL", ": ", fewest_passes, " passes, ", sum.pages,
        " page visits, ", sum.verified, " verified, ", sum.accesses, " accesses, ", sum.mismatches,
        " mismatches");
    if (stress.plan.shared_pages != 0 && !stress.options.touch) {
      put(", shared counters ", load_relaxed(slat_mailbox.shared_sum), " of ",
          load_relaxed(slat_mailbox.shared_counted));
    }
    if (stress.tsc_khz != 0) put(", ran ", run_ticks / stress.tsc_khz, " ms");
  }
  if (sum.mismatches != 0) return exit_mismatch;
  return counters_good ? exit_good : exit_counters;
}

} // namespace slat::guest
