#include "slat/memory_digest.hpp"

#include "vmm/layout.hpp"

#include <array>
#include <span>

namespace slat::tool {

namespace {

/// FNV-1a over words instead of bytes.
class Digest {
 public:
  void add(std::span<const std::uint64_t> words) {
    for (const std::uint64_t word : words) value_ = (value_ ^ word) * 0x100000001b3;
  }

  [[nodiscard]] std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325;
};

/// As the guest plans it.
std::optional<guest::MemoryPlan> plan_of(vmm::Machine& machine, const MemstressShape& shape) {
  std::vector<guest::PageRange> ram;
  for (const vmm::E820Entry& entry : vmm::e820_map(machine.ram().ranges())) {
    if (entry.type != vmm::E820Type::usable) continue;
    const guest::PageRange range = guest::clip(entry.start, entry.size, machine.kernel().image_end);
    if (range.pages != 0) ram.push_back(range);
  }
  guest::MemoryPlan plan;
  const guest::PlanRequest request{ram.data(), ram.size(), shape.mib * 256, shape.shared_pages,
                                   machine.config().cpus};
  if (guest::make_plan(request, plan) != guest::PlanError::none) return std::nullopt;
  return plan;
}

} // namespace

std::vector<guest::PageRange> tested_pages(vmm::Machine& machine, const MemstressShape& shape) {
  const auto plan = plan_of(machine, shape);
  if (!plan) return {};
  return {plan->ranges, plan->ranges + plan->range_count};
}

vmm::Result<std::uint64_t> memory_digest(vmm::Machine& machine, const MemstressShape& shape) {
  const auto plan = plan_of(machine, shape);
  Digest digest;
  if (!plan) return digest.value(); // the guest has refused it too, and tested nothing
  std::array<std::uint64_t, guest::page_size / sizeof(std::uint64_t)> page{};
  const auto add = [&](std::uint64_t start, std::uint64_t end) -> vmm::Result<void> {
    for (; start < end; start += guest::page_size) {
      if (auto ok = machine.ram().read(start, std::as_writable_bytes(std::span(page))); !ok)
        return ok;
      digest.add(page);
    }
    return {};
  };
  if (auto ok = add(plan->generations, plan->ledgers); !ok) return vmm::forward(ok);
  if (auto ok = add(plan->shared, plan->shared + plan->shared_pages * guest::page_size); !ok)
    return vmm::forward(ok);
  for (std::size_t i = 0; i < plan->range_count; ++i) {
    const guest::PageRange& range = plan->ranges[i];
    if (auto ok = add(range.start, range.start + range.pages * guest::page_size); !ok)
      return vmm::forward(ok);
  }
  return digest.value();
}

std::uint64_t mailbox_digest(const guest::Mailbox& mailbox) {
  guest::Mailbox same = mailbox;
  same.tsc_khz = 0;
  Digest digest;
  digest.add({reinterpret_cast<const std::uint64_t*>(&same), sizeof same / sizeof(std::uint64_t)});
  return digest.value();
}

} // namespace slat::tool
