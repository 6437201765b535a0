#include "guest.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <sys/mman.h>

namespace slat::kvm {

namespace {

constexpr std::uint64_t pml4_gpa = 0x1000;
constexpr std::uint64_t pdpt_gpa = 0x2000;
constexpr std::uint64_t pd_gpa = 0x3000;
constexpr std::uint64_t stack_top = 0x8000;

template <class T> T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}

void must(Result<void> result) {
  if (!result) throw std::runtime_error(result.error().message);
}

kvm_segment flat_segment(std::uint16_t selector, std::uint8_t type, bool code) {
  kvm_segment segment{};
  segment.limit = 0xffffffff;
  segment.selector = selector;
  segment.type = type;
  segment.present = 1;
  segment.s = 1;
  segment.g = 1;
  segment.l = code ? 1 : 0;
  segment.db = code ? 0 : 1;
  return segment;
}

} // namespace

std::optional<std::string> no_kvm() {
  const auto system = System::open();
  if (system) return std::nullopt;
  return system.error().message;
}

Guest::Guest(std::initializer_list<std::uint8_t> code)
    : system(must(System::open())), vm(must(system.create_vm())), vcpu(must(vm.create_vcpu(0))),
      ram_(static_cast<std::uint8_t*>(
          ::mmap(nullptr, ram_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
  if (ram_ == MAP_FAILED) throw std::runtime_error("no memory for a guest");
  load(code);
  must(vm.set_memslot(0, 0, ram_size, hva(0)));
  must(vcpu.set_cpuid(must(system.supported_cpuid())));
  enter_long_mode();
}

Guest::~Guest() {
  // The slot goes first, so that KVM never maps what takes the RAM's place.
  EXPECT_TRUE(vm.delete_memslot(0));
  ::munmap(ram_, ram_size);
}

void Guest::load(std::initializer_list<std::uint8_t> code) {
  constexpr std::uint64_t present_writable_user = 7;
  constexpr std::uint64_t large = 0x80;
  const auto entry = [&](std::uint64_t table, unsigned index, std::uint64_t value) {
    std::memcpy(ram_ + table + 8 * index, &value, 8);
  };
  entry(pml4_gpa, 0, pdpt_gpa | present_writable_user);
  entry(pdpt_gpa, 0, pd_gpa | present_writable_user);
  for (unsigned i = 0; i < mapped_size >> 21; ++i)
    entry(pd_gpa, i, (std::uint64_t{i} << 21) | present_writable_user | large);
  std::ranges::copy(code, ram_ + code_gpa);
}

void Guest::enter_long_mode() {
  kvm_sregs sregs = must(vcpu.get_sregs());
  sregs.cs = flat_segment(8, 11, true);
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat_segment(16, 3, false);
  sregs.cr0 = 0x80050033; // PG WP AM NE ET MP PE
  sregs.cr3 = pml4_gpa;
  sregs.cr4 = 0x20;    // PAE
  sregs.efer = 0x500;  // LMA LME
  sregs.idt.limit = 0; // no exception can be delivered: each is a triple fault
  must(vcpu.set_sregs(sregs));
  kvm_regs regs{};
  regs.rip = code_gpa;
  regs.rsp = stack_top;
  regs.rflags = 2;
  must(vcpu.set_regs(regs));
}

void Guest::enter_user_mode() {
  kvm_sregs sregs = must(vcpu.get_sregs());
  sregs.cs = flat_segment(0x1b, 11, true);
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat_segment(0x23, 3, false);
  for (kvm_segment* s : {&sregs.cs, &sregs.ds, &sregs.es, &sregs.fs, &sregs.gs, &sregs.ss})
    s->dpl = 3;
  must(vcpu.set_sregs(sregs));
  with_regs([](kvm_regs& regs) { regs.rflags |= 0x3000; }); // IOPL 3
}

} // namespace slat::kvm
