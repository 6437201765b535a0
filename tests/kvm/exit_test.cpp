#include "kvm/exit.hpp"
#include "kvm/uapi_newer.hpp"

#include <cerrno>
#include <cstring>
#include <gtest/gtest.h>
#include <memory>

namespace slat::kvm {
namespace {

// A run page as the kernel leaves it: kvm_run, and port data on the second page.
class RunPage {
 public:
  static constexpr std::size_t size = 3 * 4096;

  RunPage() : bytes_(static_cast<std::byte*>(std::aligned_alloc(4096, size)), &std::free) {
    std::memset(bytes_.get(), 0, size);
  }

  kvm_run& run() { return *reinterpret_cast<kvm_run*>(bytes_.get()); }

  std::byte* at(std::size_t offset) { return bytes_.get() + offset; }

  template <class T> T decoded() {
    const auto exit = decode_exit(run(), size);
    EXPECT_TRUE(exit) << (exit ? "" : exit.error().message);
    EXPECT_TRUE(std::holds_alternative<T>(*exit)) << to_string(*exit);
    return std::get<T>(*exit);
  }

 private:
  std::unique_ptr<std::byte, decltype(&std::free)> bytes_;
};

void port_access(RunPage& page, std::uint8_t direction, std::uint8_t size, std::uint32_t count,
                 std::uint64_t offset) {
  page.run().exit_reason = KVM_EXIT_IO;
  page.run().io.direction = direction;
  page.run().io.size = size;
  page.run().io.port = 0x3f8;
  page.run().io.count = count;
  page.run().io.data_offset = offset;
}

TEST(DecodeExit, OutHasItsBytesWhereTheKernelPutThem) {
  RunPage page;
  port_access(page, KVM_EXIT_IO_OUT, 2, 3, 4096);
  *page.at(4096 + 5) = std::byte{0x7e};
  const auto out = page.decoded<IoOut>();
  EXPECT_EQ(out.port, 0x3f8);
  EXPECT_EQ(out.size, 2);
  EXPECT_EQ(out.count, 3u);
  ASSERT_EQ(out.data.size(), 6u);
  EXPECT_EQ(out.data[5], std::byte{0x7e});
}

TEST(DecodeExit, WhatIsPutIntoAnInReachesTheRunPage) {
  RunPage page;
  port_access(page, KVM_EXIT_IO_IN, 1, 1, 4096);
  const auto in = page.decoded<IoIn>();
  in.data[0] = std::byte{0x42};
  EXPECT_EQ(*page.at(4096), std::byte{0x42});
}

TEST(DecodeExit, PortDataOutsideTheRunPageIsRefused) {
  RunPage page;
  port_access(page, KVM_EXIT_IO_OUT, 1, 1, RunPage::size); // starts behind it
  EXPECT_FALSE(decode_exit(page.run(), RunPage::size));
  port_access(page, KVM_EXIT_IO_OUT, 4, 1025, 2 * 4096); // ends behind it
  EXPECT_FALSE(decode_exit(page.run(), RunPage::size));
  port_access(page, KVM_EXIT_IO_OUT, 4, 1024, 2 * 4096); // just fits
  EXPECT_TRUE(decode_exit(page.run(), RunPage::size));
  port_access(page, KVM_EXIT_IO_OUT, 4, 1, ~0ull); // would wrap
  EXPECT_FALSE(decode_exit(page.run(), RunPage::size));
}

TEST(DecodeExit, MmioReadAndWrite) {
  RunPage page;
  page.run().exit_reason = KVM_EXIT_MMIO;
  page.run().mmio.phys_addr = 0xfee00000;
  page.run().mmio.len = 4;
  page.run().mmio.is_write = 1;
  page.run().mmio.data[3] = 9;
  const auto write = page.decoded<MmioWrite>();
  EXPECT_EQ(write.gpa, 0xfee00000u);
  EXPECT_EQ(write.size, 4u);
  ASSERT_EQ(write.data.size(), 4u);
  EXPECT_EQ(write.data[3], std::byte{9});

  page.run().mmio.is_write = 0;
  page.run().mmio.len = 8;
  const auto read = page.decoded<MmioRead>();
  read.data[7] = std::byte{5};
  EXPECT_EQ(page.run().mmio.data[7], 5);

  page.run().mmio.len = 9;
  EXPECT_FALSE(decode_exit(page.run(), RunPage::size));
}

TEST(DecodeExit, EmulationFailureHasTheInstructionOnlyIfTheKernelSaysSo) {
  RunPage page;
  page.run().exit_reason = KVM_EXIT_INTERNAL_ERROR;
  auto& raw = page.run().emulation_failure;
  raw.suberror = KVM_INTERNAL_ERROR_EMULATION;
  raw.ndata = 3;
  raw.flags = KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
  raw.insn_size = 2;
  raw.insn_bytes[0] = 0x0f;
  raw.insn_bytes[1] = 0x0b;
  auto error = page.decoded<InternalError>();
  EXPECT_TRUE(error.is_emulation());
  EXPECT_EQ(error.insn_size, 2);
  EXPECT_EQ(error.insn[1], 0x0b);
  EXPECT_NE(to_string(error).find("instruction 0f 0b"), std::string::npos) << to_string(error);

  raw.ndata = 0;
  EXPECT_EQ(page.decoded<InternalError>().insn_size, 0) << "not covered by ndata";
  raw.ndata = 3;
  raw.flags = 0;
  EXPECT_EQ(page.decoded<InternalError>().insn_size, 0) << "no flag";
}

TEST(DecodeExit, CountsFromTheKernelAreNotTrustedFurtherThanTheArray) {
  RunPage page;
  page.run().exit_reason = KVM_EXIT_INTERNAL_ERROR;
  page.run().internal.ndata = 1000;
  EXPECT_EQ(page.decoded<InternalError>().ndata, 16u);
  page.run().exit_reason = KVM_EXIT_SYSTEM_EVENT;
  page.run().system_event.ndata = 1000;
  EXPECT_EQ(page.decoded<SystemEvent>().ndata, 16u);
}

TEST(DecodeExit, TheOthers) {
  RunPage page;
  page.run().exit_reason = KVM_EXIT_HLT;
  page.decoded<Hlt>();
  page.run().exit_reason = KVM_EXIT_SHUTDOWN;
  page.decoded<Shutdown>();
  page.run().exit_reason = KVM_EXIT_INTR;
  page.decoded<Interrupted>();
  page.run().exit_reason = KVM_EXIT_FAIL_ENTRY;
  page.run().fail_entry.hardware_entry_failure_reason = 0x80000021;
  page.run().fail_entry.cpu = 3;
  EXPECT_EQ(page.decoded<FailEntry>().reason, 0x80000021u);
  EXPECT_EQ(page.decoded<FailEntry>().cpu, 3u);
  page.run().exit_reason = KVM_EXIT_DEBUG;
  page.run().debug.arch.pc = 0x1234;
  EXPECT_EQ(page.decoded<Debug>().pc, 0x1234u);
  page.run().exit_reason = 4711;
  EXPECT_EQ(page.decoded<Unknown>().reason, 4711u);
}

TEST(DecodeMemoryFault, HasAnAddressOnlyWhereTheKernelFilledItIn) {
  RunPage page;
  page.run().exit_reason = uapi::kvm_exit_memory_fault;
  const uapi::KvmMemoryFault raw{uapi::kvm_memory_exit_flag_private, 0x5000, 0x1000};
  std::memcpy(page.run().padding, &raw, sizeof(raw));
  const MemoryFault told = decode_memory_fault(page.run(), EFAULT);
  EXPECT_TRUE(told.described);
  EXPECT_EQ(told.gpa, 0x5000u);
  EXPECT_EQ(told.size, 0x1000u);
  EXPECT_EQ(told.flags, 8u);

  page.run().exit_reason = KVM_EXIT_UNKNOWN;
  const MemoryFault untold = decode_memory_fault(page.run(), EHWPOISON);
  EXPECT_FALSE(untold.described);
  EXPECT_EQ(untold.gpa, 0u);
  EXPECT_EQ(untold.os_error, EHWPOISON);
}

TEST(ExitText, NamesWhatHappened) {
  const std::byte bytes[] = {std::byte{0x2a}, std::byte{0}};
  EXPECT_EQ(to_string(IoOut{0x3f8, 1, 2, bytes}), "out port 0x3f8 size 1 count 2: 2a 00");
  EXPECT_EQ(to_string(MmioWrite{0x10000000, 2, bytes}), "mmio write gpa 0x10000000 size 2: 2a 00");
  EXPECT_EQ(to_string(MemoryFault{EFAULT, false, 0, 0, 0}),
            "guest memory fault: Bad address (EFAULT), address not told by the kernel");
  EXPECT_EQ(to_string(Unknown{KVM_EXIT_DIRTY_RING_FULL}),
            "exit reason 31 (DIRTY_RING_FULL), which is not handled");
  EXPECT_EQ(to_string(SystemEvent{KVM_SYSTEM_EVENT_RESET, 0, {}}), "system event 2 (reset)");
}

TEST(ExitText, ALongStringOperationIsCutShort) {
  const std::vector<std::byte> many(4096);
  const std::string text = to_string(IoOut{0x3f8, 1, 4096, many});
  EXPECT_LT(text.size(), 200u);
  EXPECT_TRUE(text.ends_with("..."));
}

} // namespace
} // namespace slat::kvm
