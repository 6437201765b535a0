// Programs in memory that is absent until it is touched, and that goes away again at random: they must leave the same
// state, memory and device accesses as with all pages there. SLAT_TEST_SEED chooses other pages.
#include "describe_state.hpp"
#include "swapped_memory.hpp"
#include "system_machine.hpp"

#include <cstdlib>
#include <gtest/gtest.h>
#include <optional>
#include <vector>

namespace slat::test {
namespace {

using namespace slat::vmm::softcpu;

constexpr std::uint64_t data_at = SmallMachine::data_at, code_at = SmallMachine::code_at,
                        device_at = SmallMachine::device_at, ram_bytes = 0x60000;

struct Program {
  const char* name;
  void (*prepare)(SystemMachine& machine);
  std::optional<std::uint8_t> interrupt = {};

  friend void PrintTo(const Program& program, std::ostream* out) { *out << program.name; }
};

struct Outcome {
  std::size_t exit = 0;
  std::string state;
  std::vector<std::string> devices;
  std::uint64_t instructions = 0;
};

/// To the end. A device answers with the number of the access.
Outcome drive(Cpu& cpu, std::optional<std::uint8_t> interrupt) {
  Outcome outcome;
  if (interrupt) EXPECT_TRUE(cpu.interrupt(*interrupt));
  const auto note = [&](const char* kind, std::uint64_t at, std::span<const std::byte> data) {
    std::string text = fmt::format("{} {:x}", kind, at);
    for (const std::byte byte : data) text += fmt::format(" {:02x}", std::to_integer<int>(byte));
    outcome.devices.push_back(std::move(text));
  };
  const auto answer = [&](const char* kind, std::uint64_t at, std::span<std::byte> data) {
    for (std::size_t i = 0; i < data.size(); ++i)
      data[i] = static_cast<std::byte>(outcome.devices.size() + 16 * i);
    note(kind, at, data);
  };
  for (;;) {
    const Exit exit = cpu.run();
    if (const auto* in = std::get_if<kvm::IoIn>(&exit)) {
      answer("in", in->port, in->data);
    } else if (const auto* out = std::get_if<kvm::IoOut>(&exit)) {
      note("out", out->port, out->data);
    } else if (const auto* read = std::get_if<kvm::MmioRead>(&exit)) {
      answer("read", read->gpa, read->data);
    } else if (const auto* write = std::get_if<kvm::MmioWrite>(&exit)) {
      note("write", write->gpa, write->data);
    } else {
      if (const auto* stopped = std::get_if<Unsupported>(&exit)) ADD_FAILURE() << stopped->what;
      outcome.exit = exit.index();
      outcome.state = describe(cpu.state());
      outcome.instructions = cpu.instructions();
      return outcome;
    }
  }
}

class SoftCpuStage2 : public testing::TestWithParam<Program> {
 protected:
  /// A machine before the program runs.
  static std::unique_ptr<SystemMachine> make() {
    auto machine = std::make_unique<SystemMachine>();
    for (std::uint64_t i = 0; i < 0x10000; i += 8)
      machine->put(data_at + i, i * 0x0101010101010101 + 0x37);
    machine->protect();
    machine->cpu.state().set_rflags(rflags_if);
    GetParam().prepare(*machine);
    return machine;
  }

  static void expect_same(SystemMachine& present, const Outcome& wanted, SwappedMemory& memory,
                          const Outcome& outcome) {
    EXPECT_EQ(outcome.exit, wanted.exit);
    EXPECT_EQ(outcome.state, wanted.state);
    EXPECT_EQ(outcome.devices, wanted.devices);
    EXPECT_EQ(outcome.instructions, wanted.instructions);
    for (std::uint64_t at = 0; at < ram_bytes; at += 4096) {
      const std::byte* have = memory.content(at);
      const auto [first, second] = std::mismatch(have, have + 4096, present.ram + at);
      EXPECT_EQ(first, have + 4096)
          << std::hex << "at 0x" << at + static_cast<std::uint64_t>(first - have) << ": 0x"
          << std::to_integer<int>(*first) << " instead of 0x" << std::to_integer<int>(*second);
    }
  }
};

TEST_P(SoftCpuStage2, AbsentPagesChangeNothing) {
  const auto machine = make();
  SwappedMemory memory;
  memory.add(0, machine->ram, ram_bytes);
  Cpu cpu(memory);
  cpu.state() = machine->cpu.state();
  cpu.state_changed();
  const Outcome wanted = drive(machine->cpu, GetParam().interrupt);
  const Outcome outcome = drive(cpu, GetParam().interrupt);
  expect_same(*machine, wanted, memory, outcome);
  EXPECT_GE(cpu.stage2_faults(), 6); // tables, code, and something
  EXPECT_EQ(cpu.stage2_faults(), memory.faults());
}

TEST_P(SoftCpuStage2, I36_PagesThatGoAwayAtRandomChangeNothing) {
  const auto machine = make();
  const CpuState start = machine->cpu.state();
  const std::vector<std::byte> ram(machine->ram, machine->ram + ram_bytes);
  const Outcome wanted = drive(machine->cpu, GetParam().interrupt);
  const char* chosen = std::getenv("SLAT_TEST_SEED");
  const std::uint64_t first = chosen != nullptr ? std::strtoull(chosen, nullptr, 0) : 0;
  for (std::uint64_t seed = first; seed < first + 12; ++seed) {
    SCOPED_TRACE(seed);
    SwappedMemory memory;
    memory.add(0, ram.data(), ram_bytes);
    Cpu cpu(memory);
    memory.take_away(cpu.flush(), 12, seed);
    cpu.state() = start;
    cpu.state_changed();
    const Outcome outcome = drive(cpu, GetParam().interrupt);
    expect_same(*machine, wanted, memory, outcome);
    if (HasFailure()) break;
  }
}

void registers(SystemMachine& machine,
               std::initializer_list<std::pair<std::size_t, std::uint64_t>> values) {
  for (const auto& [number, value] : values) machine.cpu.state().gpr[number] = value;
}

constexpr std::uint64_t edge = data_at + 0x1000; // between two pages

const Program programs[] = {
    {"InstructionAcrossPages",
     [](SystemMachine& machine) { // mov rax, imm64; int 0x80; pages of the code are not neighbours
       machine.code({0x48, 0xb8, 0x11}, 0xcffd);
       machine.code({0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0xcd, 0x80}, 0xe000);
       machine.put(SmallMachine::pte(0xd000), 0xe007);
       machine.cpu.state().rip = 0xcffd;
     }},
    {"DataAcrossPages",
     [](SystemMachine& machine) {
       // mov rax,[rbx]; add [rbx],rcx; mov [rbx],rdx; movzx esi, word [rbx + 3]; adc dword [rbx + 2],7;
       // not qword [rbx + 1]; hlt
       machine.code({0x48, 0x8b, 0x03, 0x48, 0x01, 0x0b, 0x48, 0x89, 0x13, 0x0f, 0xb7,
                     0x73, 0x03, 0x83, 0x53, 0x02, 0x07, 0x48, 0xf7, 0x53, 0x01, 0xf4});
       registers(machine, {{rbx, edge - 4}, {rcx, 0x1122334455667788}, {rdx, 0xa1a2a3a4a5a6a7a8}});
     }},
    {"StackAcrossPages",
     [](SystemMachine& machine) {
       // push rax; push [rbx]; pop [rcx]; pushfq; popfq; call 1f; jmp 2f; 1: push rbp; mov rbp,rsp; push rdx; leave;
       // ret; 2: call [rsi]; (there:) pop rdi; hlt
       machine.code({0x50, 0xff, 0x33, 0x8f, 0x01, 0x9c, 0x9d, 0xe8, 0x02, 0x00, 0x00, 0x00, 0xeb,
                     0x07, 0x55, 0x48, 0x89, 0xe5, 0x52, 0xc9, 0xc3, 0xff, 0x16, 0x5f, 0xf4});
       machine.put(edge + 0x1000, code_at + 23);
       registers(machine, {{rax, 1},
                           {rbx, edge - 4},
                           {rcx, edge + 0xffc},
                           {rsi, edge + 0x1000},
                           {rsp, edge + 0x2004}});
       machine.put(edge + 0xffc, 7); // [rsi] is where pop wrote: 4 bytes of it
       machine.put(edge - 4, std::uint64_t{code_at + 23} << 32 | 7);
     }},
    {"Strings",
     [](SystemMachine& machine) {
       // rep movsb; mov rcx,rdx; rep stosq; mov rcx,rdx; repne scasb; mov rcx,r8; mov rsi,r9; mov rdi,r10; repe cmpsb;
       // mov rcx,r8; rep lodsw; std; mov rsi,r9; mov rdi,r10; mov rcx,r8; rep movsw; cld; movsb; stosd; hlt
       machine.code({0xf3, 0xa4, 0x48, 0x89, 0xd1, 0xf3, 0x48, 0xab, 0x48, 0x89, 0xd1, 0xf2,
                     0xae, 0x4c, 0x89, 0xc1, 0x4c, 0x89, 0xce, 0x4c, 0x89, 0xd7, 0xf3, 0xa6,
                     0x4c, 0x89, 0xc1, 0x66, 0xf3, 0xad, 0xfd, 0x4c, 0x89, 0xce, 0x4c, 0x89,
                     0xd7, 0x4c, 0x89, 0xc1, 0x66, 0xf3, 0xa5, 0xfc, 0xa4, 0xab, 0xf4});
       registers(machine, {{rax, 0x123456789abcdef5},
                           {rcx, 6000},
                           {rdx, 700},
                           {rsi, edge + 1001},
                           {rdi, edge + 0x5003},
                           {8, 1500},
                           {9, edge + 0x2f01},
                           {10, edge + 0x9f01}});
     }},
    {"Locked",
     [](SystemMachine& machine) {
       // lock xadd [rbx],rax; lock cmpxchg [rcx],rdx; xchg [rsi],rdx; lock add qword [rdi],5;
       // lock bts qword [rdi + 8],3; lock cmpxchg16b [r8]; lock inc dword [r8 + 16]; cmpxchg8b [r8 + 24];
       // xadd [r9],ax; hlt
       machine.code({0xf0, 0x48, 0x0f, 0xc1, 0x03, 0xf0, 0x48, 0x0f, 0xb1, 0x11, 0x48, 0x87,
                     0x16, 0xf0, 0x48, 0x83, 0x07, 0x05, 0xf0, 0x48, 0x0f, 0xba, 0x6f, 0x08,
                     0x03, 0xf0, 0x49, 0x0f, 0xc7, 0x08, 0xf0, 0x41, 0xff, 0x40, 0x10, 0x41,
                     0x0f, 0xc7, 0x48, 0x18, 0x66, 0x41, 0x0f, 0xc1, 0x01, 0xf4});
       registers(machine, {{rax, 5},
                           {rdx, 9},
                           {rbx, edge},
                           {rcx, edge + 0x1000},
                           {rsi, edge + 0x2000},
                           {rdi, edge + 0x3000},
                           {8, edge + 0x4000},
                           {9, edge + 0x5000}});
     }},
    {"SegmentsAndTables",
     [](SystemMachine& machine) {
       // mov ds,ax; mov [rbx],ds; sgdt [rcx]; lgdt [rcx]; sidt [rcx]; lidt [rcx]; ltr dx; str [rbx]; push fs; pop gs;
       // hlt
       machine.code({0x8e, 0xd8, 0x8c, 0x1b, 0x0f, 0x01, 0x01, 0x0f, 0x01,
                     0x11, 0x0f, 0x01, 0x09, 0x0f, 0x01, 0x19, 0x0f, 0x00,
                     0xda, 0x0f, 0x00, 0x0b, 0x0f, 0xa0, 0x0f, 0xa9, 0xf4});
       registers(machine, {{rax, 0x18}, {rdx, 0x20}, {rbx, edge - 1}, {rcx, edge + 0xff9}});
     }},
    {"SoftwareInterruptFromRing3AndBack",
     [](SystemMachine& machine) { // int 0x90; ud2, and the handler: push rcx; pop rdx; iretq
       machine.gate(0x90, {.dpl = 3, .handler = 0xc100});
       machine.code({0x51, 0x5a, 0x48, 0xcf}, 0xc100);
       machine.code({0xcd, 0x90, 0x0f, 0x0b}, 0x9000);
       machine.enter_ring3();
     }},
    {"PageFaultInRing3OnAnInterruptStack",
     [](SystemMachine& machine) { // mov rax,[rbx]
       machine.gate(14, {.stack = 1});
       machine.code({0x48, 0x8b, 0x03}, 0x9000);
       machine.put(SmallMachine::pte(edge), 0);
       registers(machine, {{rbx, edge}});
       machine.enter_ring3();
     }},
    {"FrameAcrossPages",
     [](SystemMachine& machine) { // ud2 with a stack that begins near a page's beginning
       machine.code({0x0f, 0x0b});
       registers(machine, {{rsp, edge + 0x17}});
     }},
    {"DoubleFault",
     [](SystemMachine& machine) { // ud2 with a stack that is not mapped; nor is the page fault's
       machine.gate(8, {.stack = 1});
       machine.code({0x0f, 0x0b});
       machine.put(SmallMachine::pte(edge), 0);
       registers(machine, {{rsp, edge + 0x800}});
     }},
    {"TripleFault",
     [](SystemMachine& machine) {
       machine.code({0x0f, 0x0b});
       machine.put(SmallMachine::pte(edge), 0);
       registers(machine, {{rsp, edge + 0x800}});
     }},
    {"InterruptInRing3",
     [](SystemMachine& machine) {
       machine.code({0xff, 0xc9, 0x75, 0xfc, 0x0f, 0x0b}, 0x9000); // dec ecx; jne; ud2
       machine.gate(0x20, {.handler = 0xc100});
       machine.code({0x48, 0xff, 0xc2, 0x48, 0xcf}, 0xc100); // inc rdx; iretq
       registers(machine, {{rcx, 100}});
       machine.enter_ring3();
     },
     std::uint8_t{0x20}},
    {"InterruptThroughABadGate", // gone by when the fault that it leads to is delivered
     [](SystemMachine& machine) {
       machine.gate(0x20, {.present = false});
       machine.code({0xff, 0xc9, 0x75, 0xfc, 0x0f, 0x0b}, 0x9000);
       registers(machine, {{rcx, 100}});
       machine.enter_ring3();
     },
     std::uint8_t{0x20}},
    {"DeviceReadBeforeAFault",    // which must not be made again when the fault is delivered
     [](SystemMachine& machine) { // push [rsi] to a stack that is not mapped
       machine.gate(14, {.stack = 1});
       machine.code({0xff, 0x36});
       machine.put(SmallMachine::pte(edge), 0);
       registers(machine, {{rsi, device_at}, {rsp, edge + 0x800}});
     }},
    {"InterruptAfterSti",
     [](SystemMachine& machine) { // sti; mov rax,[rbx]; hlt: the interrupt is for after the hlt
       machine.cpu.state().set_rflags(0);
       machine.code({0xfb}, 0xcfff);
       machine.code({0x48, 0x8b, 0x03, 0xf4}, 0xd000);
       machine.cpu.state().rip = 0xcfff;
       registers(machine, {{rbx, edge}});
     },
     std::uint8_t{0x20}},
    {"SystemCall",
     [](SystemMachine& machine) { // syscall; int 0x80, and: mov [rbx],rax; swapgs; sysretq
       CpuState& state = machine.cpu.state();
       state.lstar = 0xc000, state.star = 0x0028001000000000;
       machine.code({0x0f, 0x05, 0xcd, 0x80}, 0x9000);
       machine.code({0x48, 0x89, 0x03, 0x0f, 0x01, 0xf8, 0x48, 0x0f, 0x07}, 0xc000);
       registers(machine, {{rbx, edge}});
       machine.enter_ring3();
     }},
    {"FarReturnToRing3",
     [](SystemMachine& machine) { // lretq 16, from a stack across pages
       machine.code({0x48, 0xca, 0x10, 0x00});
       machine.code({0xcd, 0x80}, 0x9000);
       const std::uint64_t frame[] = {0x9000, 0x3b, 0, 0, 0xa800, 0x33};
       for (std::size_t i = 0; i < std::size(frame); ++i) machine.put(edge - 16 + 8 * i, frame[i]);
       registers(machine, {{rsp, edge - 16}});
     }},
    {"Devices",
     [](SystemMachine& machine) {
       // push [rsi]; pop [rsi + 8]; add [rsi],eax; xchg [rsi + 16],rax; mov [rbx],rcx; add rcx,[rsi];
       // cmpxchg [rsi],rcx; bts dword [rsi],9; movsd; hlt
       machine.code({0xff, 0x36, 0x8f, 0x46, 0x08, 0x01, 0x06, 0x48, 0x87,
                     0x46, 0x10, 0x48, 0x89, 0x0b, 0x48, 0x03, 0x0e, 0x48,
                     0x0f, 0xb1, 0x0e, 0x0f, 0xba, 0x2e, 0x09, 0xa5, 0xf4});
       registers(machine, {{rax, 3}, {rsi, device_at + 64}, {rbx, edge - 3}, {rdi, edge + 0x1ffe}});
     }},
    {"RepeatedDeviceAccesses",
     [](SystemMachine& machine) { // rep movsd; mov rcx,r8; xchg rsi,rdi; rep movsw; hlt
       machine.code({0xf3, 0xa5, 0x4c, 0x89, 0xc1, 0x48, 0x87, 0xfe, 0x66, 0xf3, 0xa5, 0xf4});
       registers(machine, {{rcx, 9}, {8, 7}, {rsi, device_at + 64}, {rdi, edge - 14}});
     }},
    {"HalfADevice",
     [](SystemMachine& machine) {
       // mov [rbx],rax; mov rcx,[rbx]; add [rbx],rax; mov [rdx],rax; mov rcx,[rdx]; hlt
       machine.code({0x48, 0x89, 0x03, 0x48, 0x8b, 0x0b, 0x48, 0x01, 0x03, 0x48, 0x89, 0x02, 0x48,
                     0x8b, 0x0a, 0xf4});
       machine.put(SmallMachine::pte(edge), device_at | 7); // between two pages of memory
       registers(machine, {{rax, 0x0807060504030201}, {rbx, edge - 3}, {rdx, edge + 0x1000 - 5}});
     }},
    {"PortsInRing3",
     [](SystemMachine& machine) {
       // in al,dx; out 0x42,ax; mov rcx,r8; rep insw; mov rcx,r8; rep outsd; insb; outsb; int 0x80
       machine.code({0xec, 0x66, 0xe7, 0x42, 0x4c, 0x89, 0xc1, 0x66, 0xf3, 0x6d, 0x4c, 0x89, 0xc1,
                     0xf3, 0x6f, 0x6c, 0x6e, 0xcd, 0x80},
                    0x9000);
       machine.put(0xdf98 + 4, 0x7000); // the TSS, whose bitmap is in another page, all allowed
       machine.put(0xdf98 + 0x60, 0x68ULL << 48);
       machine.cpu.state().task.base = 0xdf98, machine.cpu.state().task.limit = 0x267;
       registers(machine,
                 {{rax, 0x5678}, {rdx, 0x60}, {8, 6}, {rsi, edge - 9}, {rdi, edge + 0x1ffb}});
       machine.enter_ring3();
     }},
    {"PageTablesChangedByTheGuest",
     [](SystemMachine& machine) {
       // mov rax,[rbx]; mov [rsi],rdi; invlpg [rbx]; mov rcx,[rbx]; mov cr3,rdx; mov [rbx],rcx; hlt
       machine.code({0x48, 0x8b, 0x03, 0x48, 0x89, 0x3e, 0x0f, 0x01, 0x3b, 0x48, 0x8b, 0x0b, 0x0f,
                     0x22, 0xda, 0x48, 0x89, 0x0b, 0xf4});
       registers(machine, {{rbx, edge},
                           {rsi, SmallMachine::pte(edge)},
                           {rdi, (edge + 0x1000) | 7},
                           {rdx, SmallMachine::tables_at}});
     }},
};

INSTANTIATE_TEST_SUITE_P(Programs, SoftCpuStage2, testing::ValuesIn(programs),
                         [](const auto& chosen) { return std::string(chosen.param.name); });

} // namespace
} // namespace slat::test
