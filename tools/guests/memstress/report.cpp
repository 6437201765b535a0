#include "guests/memstress/stress.hpp"
#include "guests/page_verdict.hpp"

#include <cstddef>
#include <cstdint>

namespace slat::guest {
namespace {

// Whether this is the run's first.
bool claim() {
  // Relaxed: it elects one writer of the record; what is written there is published by `valid`.
  return __atomic_exchange_n(&slat_mailbox.first_mismatch.claim, 1u, __ATOMIC_RELAXED) == 0;
}

void publish(std::uint32_t vcpu, std::uint64_t address, const PageVerdict& verdict,
             std::uint32_t generation, bool transient) {
  MismatchRecord& record = slat_mailbox.first_mismatch;
  store_relaxed(record.guest_address, address);
  store_relaxed(record.expected, verdict.expected);
  store_relaxed(record.found, verdict.found);
  store_relaxed(record.found_page, std::uint64_t{verdict.found_id.page});
  store_relaxed(record.kind, static_cast<std::uint32_t>(verdict.kind));
  store_relaxed(record.vcpu, vcpu);
  store_relaxed(record.generation, generation);
  store_relaxed(record.found_generation, verdict.found_id.generation);
  store_relaxed(record.offset, static_cast<std::uint32_t>(verdict.word * sizeof(std::uint64_t)));
  store_relaxed(record.transient, transient ? 1u : 0u);
  store_release(record.valid, 1u); // pairs with the load_acquire of host and vCPU 0
}

} // namespace

void report_page(std::uint32_t vcpu, std::uint64_t address, PageId expected, PageCheck check,
                 bool single) {
  add_own(slat_mailbox.slots[vcpu].mismatches, 1);
  if (!claim()) return;
  static std::uint64_t copy[words_per_page]; // for the one that claimed the record
  for (std::size_t i = 0; i < words_per_page; ++i) copy[i] = load_relaxed(memory(address)[i]);
  const std::uint32_t page_limit = page_number(stress.plan.end);
  const bool transient = copy[check.bad_word] == stress.pattern.word(expected, check.bad_word);
  PageVerdict verdict;
  if (!single) verdict = classify_page(copy, stress.pattern, expected, page_limit);
  if (verdict.kind == Kind::none) {
    verdict = classify_single(check, stress.pattern, expected, page_limit);
  }
  publish(vcpu, address, verdict, expected.generation, transient);
}

void report_discarded(std::uint32_t vcpu, std::uint64_t address, PageId old, PageCheck check) {
  add_own(slat_mailbox.slots[vcpu].mismatches, 1);
  if (!claim()) return;
  // Its last content, or an older one of its own, is stale; the rest is what it is elsewhere.
  PageVerdict verdict = classify_single(check, stress.pattern, {old.page, old.generation + 1},
                                        page_number(stress.plan.end));
  if (verdict.kind == Kind::lost) verdict.kind = Kind::stale;
  verdict.expected = 0;
  publish(vcpu, address, verdict, 0, load_relaxed(memory(address)[check.bad_word]) == 0);
}

void report_counter(std::uint32_t vcpu, std::uint64_t address, std::uint64_t offset,
                    std::uint64_t expected, std::uint64_t found) {
  add_own(slat_mailbox.slots[vcpu].mismatches, 1);
  record_counter(vcpu, address, offset, expected, found);
}

void record_counter(std::uint32_t vcpu, std::uint64_t address, std::uint64_t offset,
                    std::uint64_t expected, std::uint64_t found) {
  if (!claim()) return;
  PageVerdict verdict;
  verdict.kind = Kind::counter;
  verdict.word = offset / sizeof(std::uint64_t);
  verdict.expected = expected;
  verdict.found = found;
  publish(vcpu, address, verdict, 0, false);
}

} // namespace slat::guest
