// Run by the build: compiles the rules of each kind of thread with libseccomp, and writes the filters and the names of
// the system calls as C++. So slat starts without compiling anything, and without libseccomp's tables of the calls of 15
// architectures in its memory (some 400 KiB, and a quarter of a millisecond for each kind).
//   seccomp_compiler FILE.inc
#include "vmm/seccomp_rules.hpp"

#include <cstdio>
#include <cstdlib>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <memory>
#include <seccomp.h>
#include <string>
#include <vector>

using namespace slat::vmm;

namespace {

constexpr int calls_looked_at = 1024;

[[noreturn]] void die(const char* what, int error) {
  std::fprintf(stderr, "seccomp_compiler: %s: error %d\n", what, error);
  std::exit(1);
}

std::vector<sock_filter> compile(ThreadKind kind) {
  const std::unique_ptr<void, void (*)(scmp_filter_ctx)> context(seccomp_init(SCMP_ACT_TRAP),
                                                                 seccomp_release);
  if (context == nullptr) die("seccomp_init", 0);
  // Calls of another architecture come from code that is not ours.
  if (const int error =
          seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
      error != 0)
    die("the action for other architectures", error);
  // The kernel knows by heart what it permits whatever the arguments; ioctl() is looked at each time, in KVM_RUN.
  if (const int error = seccomp_syscall_priority(context.get(), SCMP_SYS(ioctl), 255); error != 0)
    die("the priority of ioctl", error);
  for (const SeccompRule& rule : seccomp_rules(kind)) {
    const std::uint32_t action =
        rule.error == 0 ? SCMP_ACT_ALLOW : std::uint32_t(SCMP_ACT_ERRNO(unsigned(rule.error)));
    scmp_arg_cmp compare{};
    if (rule.condition)
      compare = {rule.condition->argument, SCMP_CMP_MASKED_EQ, rule.condition->mask,
                 rule.condition->value};
    if (const int error = seccomp_rule_add_array(context.get(), action, rule.call,
                                                 rule.condition ? 1 : 0, &compare);
        error != 0)
      die(("a rule for call " + std::to_string(rule.call)).c_str(), error);
  }
  std::FILE* const file = std::tmpfile();
  if (file == nullptr) die("no temporary file", 0);
  if (const int error = seccomp_export_bpf(context.get(), fileno(file)); error != 0)
    die("seccomp_export_bpf", error);
  std::vector<sock_filter> program;
  std::rewind(file);
  for (sock_filter instruction{}; std::fread(&instruction, sizeof instruction, 1, file) == 1;)
    program.push_back(instruction);
  std::fclose(file);
  return program;
}

void write_program(std::FILE* out, ThreadKind kind) {
  const std::vector<sock_filter> program = compile(kind);
  std::fprintf(out, "constexpr sock_filter filter_%u[] = {\n", unsigned(kind));
  std::vector<std::size_t> pids;
  for (std::size_t i = 0; i < program.size(); ++i) {
    const sock_filter& at = program[i];
    std::fprintf(out, "{%#x, %u, %u, %#x},%s", unsigned(at.code), unsigned(at.jt), unsigned(at.jf),
                 at.k, i % 4 == 3 ? "\n" : " ");
    if (at.k == own_pid) pids.push_back(i);
  }
  std::fprintf(out, "};\n");
  if (pids.size() != 1 || program[pids[0]].code != (BPF_JMP | BPF_JEQ | BPF_K))
    die("the place of the pid is not one comparison", int(pids.size()));
  std::fprintf(out, "constexpr std::size_t pid_of_%u = %zu;\n", unsigned(kind), pids[0]);
}

void write_names(std::FILE* out) {
  std::vector<std::string> names;
  for (int call = 0; call < calls_looked_at; ++call) {
    const std::unique_ptr<char, void (*)(void*)> name(
        seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, call), std::free);
    names.emplace_back(name == nullptr ? "" : name.get());
  }
  while (names.back().empty()) names.pop_back();
  // One string and places in it: a table of pointers would be relocated at each start.
  std::fprintf(out, "constexpr char call_names[] =\n");
  std::vector<std::size_t> places;
  std::size_t place = 0;
  for (const std::string& name : names) {
    std::fprintf(out, "\"%s\\0\"\n", name.c_str());
    places.push_back(place);
    place += name.size() + 1;
  }
  std::fprintf(out, ";\nconstexpr std::uint16_t call_name_places[] = {");
  for (const std::size_t at : places) std::fprintf(out, "%zu,", at);
  std::fprintf(out, "};\n");
}

} // namespace

int main(int argc, char** argv) {
  if (argc != 2) die("usage: seccomp_compiler FILE.inc", argc);
  std::FILE* const out = std::fopen(argv[1], "w");
  if (out == nullptr) die(argv[1], 0);
  std::fprintf(out, "// Written by seccomp_compiler from seccomp_rules.cpp.\n");
  for (unsigned kind = 0; kind < thread_kinds; ++kind) write_program(out, ThreadKind(kind));
  std::fprintf(out, "constexpr Program programs[] = {\n");
  for (unsigned kind = 0; kind < thread_kinds; ++kind)
    std::fprintf(out, "{filter_%u, pid_of_%u},\n", kind, kind);
  std::fprintf(out, "};\n");
  write_names(out);
  if (std::ferror(out) != 0 || std::fclose(out) != 0) die(argv[1], 1);
}
