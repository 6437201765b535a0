#include <mmu/address_space.hpp>
#include <mmu/zero_source.hpp>

#include <cstdio>
#include <memory>

using namespace slat;

// Where resolved faults go: your page tables, or your hypervisor's.
class MyMmu : public mmu::SecondaryMmu {
 public:
  mmu::InstallResult install(const mmu::InstallRequest& run) override {
    std::printf("installed %zu pages at %#zx, %s\n", run.pages, run.address,
                run.writable ? "rw" : "ro");
    return {mmu::InstallStatus::installed, run.pages};
  }
};

// Told before anything changes underneath: drop what you have installed.
class MySubscriber : public mmu::Notifier {
 public:
  bool invalidate_range_start(const mmu::NotifierRange& range) override {
    std::printf("invalidate [%#zx, %#zx)\n", range.start, range.end);
    return true;
  }

  void invalidate_range_end(const mmu::NotifierRange&) override {}
};

int main() {
  mmu::Counters counters;
  auto made = mmu::AddressSpace::create({.vma_lock = mmu::VmaLockDesign::vma_refcount}, counters);
  if (!made) return std::printf("%s\n", made.error().message.c_str()), 1;
  mmu::AddressSpace& mm = **made;
  MyMmu my_mmu;
  MySubscriber subscriber;
  if (!mm.notifiers().register_notifier(subscriber)) return 1;

  auto backing = mmu::Backing::create("guest", 1 << 20, std::make_unique<mmu::ZeroSource>());
  if (!backing) return std::printf("%s\n", backing.error().message.c_str()), 1;
  const mmu::BackingRef reference(*backing); // the mapping takes a reference of its own
  auto view = mm.map({.length = 1 << 20, .backing = *backing});
  if (!view) return std::printf("%s\n", view.error().message.c_str()), 1;

  const mmu::FaultRequest fault{.address = *view + 0x1234,
                                .access = mmu::vm_write,
                                .mmu = &my_mmu,
                                .around_start = *view,
                                .around_end = *view + 4 * mmu::page_size};
  if (handle_mm_fault(mm, fault).result != mmu::FaultResult::done) return 1;

  if (!mm.unmap(*view, 1 << 20)) return 1;
  const auto outcome = handle_mm_fault(mm, fault);
  std::printf("fault after unmap: %s\n", to_string(outcome.result).data());
  return outcome.result == mmu::FaultResult::no_vma ? 0 : 1;
}
