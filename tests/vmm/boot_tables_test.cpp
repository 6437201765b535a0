#include "vmm/boot_tables.hpp"

#include "fake_guest_memory.hpp"
#include "matchers.hpp"
#include "vmm/guest_walk.hpp"

#include <gtest/gtest.h>

namespace slat::vmm {
namespace {

PagingState paging_of(const EntryState& s) {
  return {s.cr0, s.cr3, s.cr4, s.efer};
}

void expect_identity(std::uint64_t ram_size, std::uint64_t end) {
  SCOPED_TRACE(ram_size);
  FakeGuestMemory memory(ram_size);
  const auto state = write_boot_tables(memory, 0x100000);
  ASSERT_TRUE(state) << state.error().message;
  EXPECT_EQ(mapped_end(memory), end);
  for (std::uint64_t address = 0; address < end; address += 2 * mib) {
    const auto gpa = translate(memory, paging_of(*state), address + 0x1234);
    ASSERT_TRUE(gpa) << gpa.error().message;
    ASSERT_EQ(*gpa, address + 0x1234);
  }
  EXPECT_FALSE(translate(memory, paging_of(*state), end));
  EXPECT_FALSE(translate(memory, paging_of(*state), 0xffff800000000000));
  EXPECT_EQ(memory.writes().size(), 2U) << "as few writes as possible";
  for (const auto& write : memory.writes()) {
    EXPECT_TRUE(
        (write.start == gdt_address && write.size <= guest_page_size) ||
        (write.start == page_tables_address && write.start + write.size <= page_tables_end));
  }
}

TEST(BootTables, MapFourGiBForSmallGuests) {
  expect_identity(min_ram_size, 4 * gib);
  expect_identity(3 * gib, 4 * gib);
}

TEST(BootTables, MapAllRamOfLargerGuests) {
  expect_identity(3 * gib + 4 * kib, 5 * gib);
  expect_identity(max_ram_size, 65 * gib);
}

TEST(BootTables, MapPresentWritableUserAtEveryLevel) {
  FakeGuestMemory memory(256 * mib);
  ASSERT_TRUE(write_boot_tables(memory, 0x100000));
  const auto entry = [&](std::size_t table, std::size_t index) {
    return memory.get<std::uint64_t>(page_tables_address + table * 4096 + index * 8);
  };
  EXPECT_EQ(entry(0, 0), (page_tables_address + 0x1000) | 0x7U);
  EXPECT_EQ(entry(0, 1), 0U);
  EXPECT_EQ(entry(1, 3), (page_tables_address + 0x5000) | 0x7U);
  EXPECT_EQ(entry(1, 4), 0U);
  EXPECT_EQ(entry(2, 0), 0x87U);
  EXPECT_EQ(entry(5, 511), (4 * gib - 2 * mib) | 0x87U);
}

TEST(BootTables, GdtHoldsTheSegmentsThatTheRegistersHave) {
  FakeGuestMemory memory(256 * mib);
  const auto state = write_boot_tables(memory, 0x123456);
  ASSERT_TRUE(state);
  EXPECT_EQ(state->gdt.base, gdt_address);
  EXPECT_EQ(state->gdt.limit, 63U);
  const auto slot = [&](std::uint16_t selector) {
    return memory.get<std::uint64_t>(gdt_address + (selector & ~7U));
  };
  EXPECT_EQ(slot(0), 0U);
  EXPECT_EQ(slot(8), 0U);
  // The values of the x86 manuals: present, accessed, flat, 64-bit code or 32-bit data.
  EXPECT_EQ(slot(0x10), 0x00af9b000000ffffU);
  EXPECT_EQ(slot(0x18), 0x00cf93000000ffffU);
  EXPECT_EQ(slot(0x33), 0x00cff3000000ffffU);
  EXPECT_EQ(slot(0x3b), 0x00affb000000ffffU);
  const std::uint64_t tss = slot(0x20);
  EXPECT_EQ(tss >> 40 & 0xff, 0x8bU);
  EXPECT_EQ(tss & 0xffff, 103U);
  EXPECT_EQ(tss >> 16 & 0xffffff, state->task.base);
  EXPECT_EQ(slot(0x28), 0U);
  EXPECT_EQ(memory.get<std::uint16_t>(state->task.base + 102), 104U) << "I/O bitmap: none";
  EXPECT_EQ(memory.get<std::uint64_t>(state->task.base + 4), 0U);
}

TEST(BootTables, EntryStateIs64BitModeAtTheEntry) {
  FakeGuestMemory memory(256 * mib);
  const auto state = write_boot_tables(memory, 0x123456);
  ASSERT_TRUE(state);
  EXPECT_EQ(state->rip, 0x123456U);
  EXPECT_EQ(state->rsi, boot_params_address);
  EXPECT_EQ(state->rflags, 2U) << "interrupts off";
  EXPECT_EQ(state->cr0 & 0x80000001, 0x80000001U);
  EXPECT_EQ(state->cr4 & 0x20, 0x20U);
  EXPECT_EQ(state->efer & 0x500, 0x500U);
  EXPECT_EQ(state->cr3, page_tables_address);
  EXPECT_EQ(state->code.selector, 0x10U);
  EXPECT_TRUE(state->code.long_mode);
  EXPECT_EQ(state->data.selector, 0x18U);
}

TEST(BootTables, RefuseRamPastTheTables) {
  FakeGuestMemory memory(std::vector<GpaRange>{{0, gib}, {200 * gib, gib}});
  EXPECT_THAT(write_boot_tables(memory, 0x100000), FailsWith(Errc::invalid_argument, "201G"));
  EXPECT_TRUE(memory.writes().empty());
}

} // namespace
} // namespace slat::vmm
