#include "native_cpu.hpp"

#include <csetjmp>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <sys/mman.h>

namespace slat::test {
namespace {

constexpr std::size_t page_bytes = 4096;
sigjmp_buf escape;

void on_signal(int number) {
  siglongjmp(escape, number);
}

class Assembler {
 public:
  explicit Assembler(std::uint8_t* at) : start_(at), at_(at) {}

  void bytes(std::initializer_list<int> values) {
    for (const int value : values) *at_++ = static_cast<std::uint8_t>(value);
  }

  void address(const void* value) {
    std::memcpy(at_, &value, sizeof value);
    at_ += sizeof value;
  }

  /// mov reg, [base + offset] (0x8b) or the other way round (0x89). The base is rax or rdi.
  void move(int opcode, int reg, int base, std::size_t offset) {
    bytes({0x48 | (reg >= 8 ? 4 : 0), opcode, 0x80 | (reg & 7) << 3 | base});
    const auto offset32 = static_cast<std::uint32_t>(offset);
    std::memcpy(at_, &offset32, sizeof offset32);
    at_ += sizeof offset32;
  }

  [[nodiscard]] std::size_t position() const { return static_cast<std::size_t>(at_ - start_); }

 private:
  std::uint8_t* start_;
  std::uint8_t* at_;
};

} // namespace

NativeCpu::NativeCpu() : state_(new NativeState{}) {
  void* page = mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE | PROT_EXEC,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) std::abort();
  page_ = static_cast<std::uint8_t*>(page);
  constexpr int load = 0x8b, store = 0x89, rax = 0, rsp = 4, rdi = 7;
  const auto gpr = [](int number) { return static_cast<std::size_t>(number) * 8; };
  Assembler code(page_);
  code.bytes({0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57}); // push rbx rbp r12-r15
  code.move(store, rsp, rdi, offsetof(NativeState, host_stack));
  code.bytes({0xff, 0xb7, offsetof(NativeState, rflags), 0, 0, 0}); // push [rdi + rflags]
  code.bytes({0x9d});                                               // popfq
  for (int i = 0; i < 16; ++i)
    if (i != rdi) code.move(load, i, rdi, gpr(i));
  code.move(load, rdi, rdi, gpr(rdi));
  slot_ = code.position();
  code = Assembler(page_ + slot_ + most_bytes);
  code.bytes({0x48, 0xa3}); // mov [state], rax
  code.address(&state_->gpr[0]);
  code.bytes({0x48, 0xb8}); // mov rax, state
  code.address(state_);
  for (int i = 1; i < 16; ++i) code.move(store, i, rax, gpr(i));
  code.move(load, rsp, rax, offsetof(NativeState, host_stack));
  code.bytes(
      {0x9c, 0x8f, 0x80, offsetof(NativeState, rflags), 0, 0, 0}); // pushfq, pop [rax + rflags]
  code.bytes({0xfc, 0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3});

  static std::array<std::byte, 65536> stack; // the instruction's rsp is not ours
  stack_t alternate{};
  alternate.ss_sp = stack.data();
  alternate.ss_size = stack.size();
  sigaltstack(&alternate, nullptr);
  struct sigaction action{};
  action.sa_handler = on_signal;
  action.sa_flags = SA_ONSTACK;
  for (const int number : {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGTRAP})
    sigaction(number, &action, nullptr);
}

NativeCpu::~NativeCpu() {
  for (const int number : {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGTRAP}) std::signal(number, SIG_DFL);
  munmap(page_, page_bytes);
  delete state_;
}

std::uint64_t NativeCpu::address() const {
  return reinterpret_cast<std::uint64_t>(page_) + slot_;
}

// UBSan looks for the type of a function in front of its code: there is none in front of ours.
__attribute__((no_sanitize("undefined"))) int NativeCpu::run(std::span<const std::uint8_t> code,
                                                             NativeState& state) {
  std::memset(page_ + slot_, 0x90, most_bytes);
  std::memcpy(page_ + slot_, code.data(), code.size());
  *state_ = state;
  if (const int number = sigsetjmp(escape, 1); number != 0) {
    asm volatile("cld");
    return number;
  }
  reinterpret_cast<void (*)(NativeState*)>(page_)(state_);
  state = *state_;
  return 0;
}

} // namespace slat::test
