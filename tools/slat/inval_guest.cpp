#include "slat/inval_guest.hpp"

#include "guests/builtin.hpp"
#include "slat/mailbox.hpp"
#include "slat/run.hpp"

#include <cstddef>
#include <fmt/format.h>
#include <thread>

namespace slat::tool {

namespace {

using Clock = std::chrono::steady_clock;
using Verdict = InvalOutcome::Verdict;
constexpr auto patience = std::chrono::seconds(60); // machines are slow and shared

std::uint64_t visits_in(const guest::Mailbox& mailbox) {
  std::uint64_t sum = 0;
  for (const guest::VcpuSlot& slot : mailbox.slots) sum += slot.pages;
  return sum;
}

std::string describe(const guest::MismatchRecord& record) {
  return fmt::format("{} page at guest address {:#x}: expected {:#x}, found {:#x}",
                     guest::to_string(guest::Kind(record.kind)), record.guest_address,
                     record.expected, record.found);
}

} // namespace

bool InvalContext::interrupted() {
  return pending_signal().has_value();
}

InvalOutcome no_machine(const vmm::Error& error) {
  if (error.code == vmm::Errc::host_unavailable || error.code == vmm::Errc::no_permission)
    return InvalOutcome::skipped(error.message);
  return InvalOutcome::failed(error.message);
}

vmm::Result<std::unique_ptr<InvalGuest>>
InvalGuest::make(const InvalCell& cell, const std::string& command_line, std::uint64_t memory_slot,
                 std::uint32_t fault_around, std::uint64_t spare_memory) {
  auto guest = std::unique_ptr<InvalGuest>(new InvalGuest);
  auto machine = vmm::Machine::create(
      {.kernel = vmm::BuiltinImage{guest::builtin_memstress(), "built-in memstress"},
       .command_line = fmt::format("{} seed={} quiet", command_line, cell.seed),
       .memory = cell.memory,
       .memory_slot = memory_slot,
       .spare_memory = spare_memory,
       .cpus = cell.cpus,
       .fault_around = fault_around,
       .accel = cell.accel,
       .kvm_device = cell.kvm_device,
       .vma_lock = cell.vma_lock,
       .seccomp = cell.seccomp});
  if (!machine) return vmm::forward(machine);
  guest->machine_ = std::move(*machine);
  return guest;
}

std::uint64_t InvalGuest::visits() {
  const auto mailbox = sample_mailbox(*machine_);
  return mailbox ? visits_in(*mailbox) : 0;
}

std::uint64_t InvalGuest::tested_pages() {
  const auto mailbox = sample_mailbox(*machine_);
  return mailbox ? mailbox->tested_pages : 0;
}

template <class Reached>
bool InvalGuest::wait_for(InvalContext& context, const std::string& what, Reached reached) {
  for (const auto deadline = Clock::now() + patience; Clock::now() < deadline;) {
    const auto mailbox = sample_mailbox(*machine_);
    if (mailbox && reached(*mailbox)) return true;
    if (context.interrupted()) return false;
    if (machine_->wait_for(std::chrono::milliseconds(1))) {
      const auto last =
          sample_mailbox(*machine_); // it may have come to that, and ended, since the other one
      return last && reached(*last);
    }
  }
  why_not_ = fmt::format("{} within 60 s", what);
  return false;
}

bool InvalGuest::start(InvalContext& context) {
  if (auto ok = machine_->start(); !ok) {
    why_not_ = ok.error().message;
    return false;
  }
  context.show("the guest fills its memory");
  return wait_for(context, "the guest has not begun its work", [](const guest::Mailbox& mailbox) {
    return mailbox.state >= std::uint32_t(guest::GuestState::running);
  });
}

bool InvalGuest::wait_for_visits(InvalContext& context, std::uint64_t more) {
  const std::uint64_t goal = visits() + more;
  return wait_for(context, fmt::format("the guest has not visited {} pages", more),
                  [&](const guest::Mailbox& mailbox) { return visits_in(mailbox) >= goal; });
}

bool InvalGuest::wait_for_passes(InvalContext& context, std::uint64_t more) {
  const auto first = sample_mailbox(*machine_);
  if (!first) return false;
  return wait_for(context, "a vCPU has not gone over its memory",
                  [&](const guest::Mailbox& mailbox) {
                    for (unsigned i = 0; i < mailbox.vcpu_count; ++i)
                      if (mailbox.slots[i].passes < first->slots[i].passes + more) return false;
                    return true;
                  });
}

void InvalGuest::work(InvalContext& context, double seconds) {
  const auto start = Clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  while (elapsed() < seconds && !context.interrupted()) {
    context.show(fmt::format("{:.0f}/{:.0f} s  {} pages  {} faults", elapsed(), seconds, visits(),
                             machine_->accelerator().fault_count()));
    const double rest = std::min(0.2, seconds - elapsed());
    if (machine_->wait_for(std::chrono::milliseconds(std::max(1L, long(rest * 1000))))) return;
  }
}

InvalOutcome InvalGuest::finish(InvalContext& context, bool ask) {
  if (ask) {
    const std::uint32_t yes = 1;
    const vmm::Gpa page = machine_->kernel().notes.mailbox.value();
    if (auto ok = machine_->ram().write(page + offsetof(guest::Mailbox, stop_request),
                                        std::as_bytes(std::span(&yes, 1)));
        !ok && why_not_.empty())
      why_not_ = ok.error().message;
  }
  context.show("the guest verifies");
  std::optional<vmm::MachineEnd> end;
  const auto deadline = Clock::now() + patience;
  while (!(end = machine_->wait_for(std::chrono::milliseconds(20)))) {
    const bool late = Clock::now() > deadline;
    if (!late && !context.interrupted()) continue;
    if (late && why_not_.empty()) why_not_ = "the guest has not ended within 60 s";
    machine_->request_stop();
    end = machine_->wait_for(patience);
    break;
  }
  end_ = end.value_or(vmm::MachineEnd{});
  if (context.interrupted()) return {Verdict::interrupted, "interrupted"};
  if (!why_not_.empty()) return InvalOutcome::failed(why_not_);
  if (end_.reason != vmm::MachineEnd::Reason::exited) {
    std::string first = end_.report.substr(0, end_.report.find('\n'));
    return InvalOutcome::failed(first.empty() ? "the guest stopped by itself" : first);
  }
  if (end_.exit_code == guest::exit_good) return {};
  const auto mailbox = sample_mailbox(*machine_);
  if (mailbox && mailbox->first_mismatch.valid == 1)
    return InvalOutcome::failed(describe(mailbox->first_mismatch));
  return InvalOutcome::failed(fmt::format("the guest ended with {}", end_.exit_code));
}

} // namespace slat::tool
