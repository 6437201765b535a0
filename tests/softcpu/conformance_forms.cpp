#include "conformance_forms.hpp"

#include "vmm/softcpu/flags.hpp"

#include <fmt/format.h>

namespace slat::test {
namespace {

using namespace slat::vmm::softcpu;
using enum Operand;

constexpr std::uint64_t pf = rflags_pf, af = rflags_af, zf = rflags_zf, sf = rflags_sf,
                        of = rflags_of;

class Forms {
 public:
  Form& add(ZydisMnemonic mnemonic, std::vector<Operand> operands, unsigned size) {
    std::string name = ZydisMnemonicGetString(mnemonic);
    for (const Operand operand : operands) {
      static constexpr const char* names[] = {"", "r", "m", "imm8", "imm", "cl", "1", "imm64"};
      name += fmt::format(" {}", names[static_cast<std::size_t>(operand)]);
    }
    name += fmt::format(" {}", 8 * size);
    list_.push_back({std::move(name), mnemonic, std::move(operands), size});
    return list_.back();
  }

  void raw(std::string name, std::vector<std::uint8_t> bytes, Setup setup = Setup::plain) {
    list_.push_back({std::move(name)});
    list_.back().bytes = std::move(bytes);
    list_.back().setup = setup;
  }

  std::vector<Form> take() { return std::move(list_); }

 private:
  std::vector<Form> list_;
};

void add_arithmetic(Forms& forms) {
  struct {
    ZydisMnemonic mnemonic;
    std::uint64_t undefined;
    bool writes;
  } const binary[] = {{ZYDIS_MNEMONIC_ADD, 0, true},   {ZYDIS_MNEMONIC_ADC, 0, true},
                      {ZYDIS_MNEMONIC_SUB, 0, true},   {ZYDIS_MNEMONIC_SBB, 0, true},
                      {ZYDIS_MNEMONIC_AND, af, true},  {ZYDIS_MNEMONIC_OR, af, true},
                      {ZYDIS_MNEMONIC_XOR, af, true},  {ZYDIS_MNEMONIC_CMP, 0, false},
                      {ZYDIS_MNEMONIC_TEST, af, false}};

  for (const auto& op : binary) {
    for (const unsigned size : {1U, 2U, 4U, 8U}) {
      using Operands = std::vector<Operand>;
      for (const Operands& operands :
           {Operands{reg, reg}, Operands{reg, mem}, Operands{mem, reg}, Operands{reg, imm},
            Operands{mem, imm}, Operands{reg, imm8}}) {
        if (op.mnemonic == ZYDIS_MNEMONIC_TEST && operands == Operands{reg, mem}) continue;
        forms.add(op.mnemonic, operands, size).undefined_flags = op.undefined;
        if (op.writes && operands[0] == mem) {
          Form& locked = forms.add(op.mnemonic, operands, size);
          locked.name = "lock " + locked.name;
          locked.locked = true;
          locked.setup = Setup::aligned;
          locked.undefined_flags = op.undefined;
        }
      }
    }
  }
  for (const auto mnemonic :
       {ZYDIS_MNEMONIC_INC, ZYDIS_MNEMONIC_DEC, ZYDIS_MNEMONIC_NEG, ZYDIS_MNEMONIC_NOT}) {
    for (const unsigned size : {1U, 2U, 4U, 8U}) {
      forms.add(mnemonic, {reg}, size);
      forms.add(mnemonic, {mem}, size);
      Form& locked = forms.add(mnemonic, {mem}, size);
      locked.name = "lock " + locked.name;
      locked.locked = true;
      locked.setup = Setup::aligned;
    }
  }
  if (__builtin_cpu_supports("bmi2")) { // ADX came with the same processors
    for (const auto mnemonic : {ZYDIS_MNEMONIC_ADCX, ZYDIS_MNEMONIC_ADOX})
      for (const unsigned size : {4U, 8U})
        for (const Operand last : {reg, mem}) forms.add(mnemonic, {reg, last}, size);
  }
}

void add_shifts(Forms& forms) {
  for (const auto mnemonic :
       {ZYDIS_MNEMONIC_SHL, ZYDIS_MNEMONIC_SHR, ZYDIS_MNEMONIC_SAR, ZYDIS_MNEMONIC_ROL,
        ZYDIS_MNEMONIC_ROR, ZYDIS_MNEMONIC_RCL, ZYDIS_MNEMONIC_RCR}) {
    const bool shift = mnemonic == ZYDIS_MNEMONIC_SHL || mnemonic == ZYDIS_MNEMONIC_SHR ||
                       mnemonic == ZYDIS_MNEMONIC_SAR;
    for (const unsigned size : {1U, 2U, 4U, 8U}) {
      for (const Operand first : {reg, mem}) {
        for (const Operand count : {cl, imm8, one}) {
          Form& form = forms.add(mnemonic, {first, count}, size);
          form.shift = shift;
          form.rotate = !shift;
        }
      }
    }
  }
  for (const auto mnemonic : {ZYDIS_MNEMONIC_SHLD, ZYDIS_MNEMONIC_SHRD}) {
    for (const unsigned size : {2U, 4U, 8U}) {
      for (const Operand first : {reg, mem}) {
        for (const Operand count : {cl, imm8}) {
          Form& form = forms.add(mnemonic, {first, reg, count}, size);
          form.shift = true;
          form.setup = Setup::count16;
        }
      }
    }
  }
}

void add_multiply_and_bits(Forms& forms) {
  for (const unsigned size : {1U, 2U, 4U, 8U}) {
    for (const Operand operand : {reg, mem}) {
      for (const auto mnemonic : {ZYDIS_MNEMONIC_MUL, ZYDIS_MNEMONIC_IMUL})
        forms.add(mnemonic, {operand}, size).undefined_flags = sf | zf | af | pf;
      for (const auto mnemonic : {ZYDIS_MNEMONIC_DIV, ZYDIS_MNEMONIC_IDIV}) {
        Form& form = forms.add(mnemonic, {operand}, size);
        form.undefined_flags = rflags_arithmetic;
        form.setup = Setup::divide;
      }
      if (size == 1) continue;
      forms.add(ZYDIS_MNEMONIC_IMUL, {reg, operand}, size).undefined_flags = sf | zf | af | pf;
      for (const Operand last : {imm8, imm})
        forms.add(ZYDIS_MNEMONIC_IMUL, {reg, operand, last}, size).undefined_flags =
            sf | zf | af | pf;
      for (const auto mnemonic : {ZYDIS_MNEMONIC_BSF, ZYDIS_MNEMONIC_BSR})
        forms.add(mnemonic, {reg, operand}, size).undefined_flags = rflags_arithmetic & ~zf;
      forms.add(ZYDIS_MNEMONIC_POPCNT, {reg, operand}, size);
      if (__builtin_cpu_supports("bmi") && __builtin_cpu_supports("lzcnt"))
        for (const auto mnemonic : {ZYDIS_MNEMONIC_TZCNT, ZYDIS_MNEMONIC_LZCNT})
          forms.add(mnemonic, {reg, operand}, size).undefined_flags = of | sf | pf | af;
      for (const auto mnemonic :
           {ZYDIS_MNEMONIC_BT, ZYDIS_MNEMONIC_BTS, ZYDIS_MNEMONIC_BTR, ZYDIS_MNEMONIC_BTC}) {
        for (const Operand number : {reg, imm8}) {
          for (const bool locked : {false, true}) {
            if (locked && (operand == reg || mnemonic == ZYDIS_MNEMONIC_BT)) continue;
            Form& form = forms.add(mnemonic, {operand, number}, size);
            form.undefined_flags = of | sf | af | pf;
            form.setup = operand == mem && number == reg ? Setup::bit_offset : Setup::aligned;
            form.locked = locked;
            if (locked) form.name = "lock " + form.name;
          }
        }
      }
    }
  }
}

void add_moves(Forms& forms) {
  for (const unsigned size : {1U, 2U, 4U, 8U}) {
    forms.add(ZYDIS_MNEMONIC_MOV, {reg, reg}, size);
    forms.add(ZYDIS_MNEMONIC_MOV, {reg, mem}, size);
    forms.add(ZYDIS_MNEMONIC_MOV, {mem, reg}, size);
    forms.add(ZYDIS_MNEMONIC_MOV, {mem, imm}, size);
    forms.add(ZYDIS_MNEMONIC_MOV, {reg, size == 8 ? quad : imm}, size);
    forms.add(ZYDIS_MNEMONIC_XCHG, {reg, reg}, size);
    forms.add(ZYDIS_MNEMONIC_XCHG, {mem, reg}, size).setup = Setup::aligned;
    forms.add(ZYDIS_MNEMONIC_XADD, {reg, reg}, size);
    forms.add(ZYDIS_MNEMONIC_CMPXCHG, {reg, reg}, size);
    for (const auto mnemonic : {ZYDIS_MNEMONIC_XADD, ZYDIS_MNEMONIC_CMPXCHG}) {
      for (const bool locked : {false, true}) {
        Form& form = forms.add(mnemonic, {mem, reg}, size);
        form.setup = Setup::aligned;
        form.locked = locked;
        if (locked) form.name = "lock " + form.name;
      }
    }
    if (size == 1) continue;
    forms.add(ZYDIS_MNEMONIC_LEA, {reg, mem}, size);
    for (const Operand source : {reg, mem}) {
      for (const auto mnemonic : {ZYDIS_MNEMONIC_MOVZX, ZYDIS_MNEMONIC_MOVSX}) {
        forms.add(mnemonic, {reg, source}, size).last_size = 1;
        if (size > 2) forms.add(mnemonic, {reg, source}, size).last_size = 2;
      }
      for (int code = 0; code < 16; ++code) {
        static constexpr ZydisMnemonic moves[] = {
            ZYDIS_MNEMONIC_CMOVO,  ZYDIS_MNEMONIC_CMOVNO,  ZYDIS_MNEMONIC_CMOVB,
            ZYDIS_MNEMONIC_CMOVNB, ZYDIS_MNEMONIC_CMOVZ,   ZYDIS_MNEMONIC_CMOVNZ,
            ZYDIS_MNEMONIC_CMOVBE, ZYDIS_MNEMONIC_CMOVNBE, ZYDIS_MNEMONIC_CMOVS,
            ZYDIS_MNEMONIC_CMOVNS, ZYDIS_MNEMONIC_CMOVP,   ZYDIS_MNEMONIC_CMOVNP,
            ZYDIS_MNEMONIC_CMOVL,  ZYDIS_MNEMONIC_CMOVNL,  ZYDIS_MNEMONIC_CMOVLE,
            ZYDIS_MNEMONIC_CMOVNLE};
        forms.add(moves[code], {reg, source}, size);
      }
    }
    if (__builtin_cpu_supports("bmi")) { // MOVBE came before
      forms.add(ZYDIS_MNEMONIC_MOVBE, {reg, mem}, size);
      forms.add(ZYDIS_MNEMONIC_MOVBE, {mem, reg}, size);
    }
    if (size == 4) continue;
    for (const Operand operand : {reg, mem}) {
      forms.add(ZYDIS_MNEMONIC_PUSH, {operand}, size);
      forms.add(ZYDIS_MNEMONIC_POP, {operand}, size);
    }
  }
  for (const Operand source : {reg, mem})
    forms.add(ZYDIS_MNEMONIC_MOVSXD, {reg, source}, 8).last_size = 4;
  for (const unsigned size : {4U, 8U}) forms.add(ZYDIS_MNEMONIC_BSWAP, {reg}, size);
  for (const unsigned size : {4U, 8U}) forms.add(ZYDIS_MNEMONIC_MOVNTI, {mem, reg}, size);
  forms.add(ZYDIS_MNEMONIC_PUSH, {imm8}, 8);
  forms.add(ZYDIS_MNEMONIC_PUSH, {imm}, 8);
  for (int code = 0; code < 16; ++code) {
    static constexpr ZydisMnemonic sets[] = {
        ZYDIS_MNEMONIC_SETO, ZYDIS_MNEMONIC_SETNO, ZYDIS_MNEMONIC_SETB,  ZYDIS_MNEMONIC_SETNB,
        ZYDIS_MNEMONIC_SETZ, ZYDIS_MNEMONIC_SETNZ, ZYDIS_MNEMONIC_SETBE, ZYDIS_MNEMONIC_SETNBE,
        ZYDIS_MNEMONIC_SETS, ZYDIS_MNEMONIC_SETNS, ZYDIS_MNEMONIC_SETP,  ZYDIS_MNEMONIC_SETNP,
        ZYDIS_MNEMONIC_SETL, ZYDIS_MNEMONIC_SETNL, ZYDIS_MNEMONIC_SETLE, ZYDIS_MNEMONIC_SETNLE};
    for (const Operand operand : {reg, mem}) forms.add(sets[code], {operand}, 1);
    // jcc over lea rax, [rax + 1], with both sizes of displacement
    forms.raw(fmt::format("jcc {} rel8", code),
              {static_cast<std::uint8_t>(0x70 + code), 4, 0x48, 0x8d, 0x40, 1});
    forms.raw(fmt::format("jcc {} rel32", code),
              {0x0f, static_cast<std::uint8_t>(0x80 + code), 4, 0, 0, 0, 0x48, 0x8d, 0x40, 1});
  }
  for (const unsigned size : {4U, 8U}) { // cmpxchg8b and cmpxchg16b
    Form& form = forms.add(size == 4 ? ZYDIS_MNEMONIC_CMPXCHG8B : ZYDIS_MNEMONIC_CMPXCHG16B, {mem},
                           2 * size);
    form.setup = Setup::aligned;
    form.locked = true;
  }
}

void add_bmi(Forms& forms) {
  if (!__builtin_cpu_supports("bmi") || !__builtin_cpu_supports("bmi2")) return;
  for (const unsigned size : {4U, 8U}) {
    for (const Operand operand : {reg, mem}) {
      forms.add(ZYDIS_MNEMONIC_ANDN, {reg, reg, operand}, size).undefined_flags = af | pf;
      for (const auto mnemonic : {ZYDIS_MNEMONIC_PDEP, ZYDIS_MNEMONIC_PEXT, ZYDIS_MNEMONIC_MULX})
        forms.add(mnemonic, {reg, reg, operand}, size);
      forms.add(ZYDIS_MNEMONIC_BEXTR, {reg, operand, reg}, size).undefined_flags = af | sf | pf;
      forms.add(ZYDIS_MNEMONIC_BZHI, {reg, operand, reg}, size).undefined_flags = af | pf;
      for (const auto mnemonic : {ZYDIS_MNEMONIC_SHLX, ZYDIS_MNEMONIC_SHRX, ZYDIS_MNEMONIC_SARX})
        forms.add(mnemonic, {reg, operand, reg}, size);
      forms.add(ZYDIS_MNEMONIC_RORX, {reg, operand, imm8}, size);
      for (const auto mnemonic : {ZYDIS_MNEMONIC_BLSI, ZYDIS_MNEMONIC_BLSR, ZYDIS_MNEMONIC_BLSMSK})
        forms.add(mnemonic, {reg, operand}, size).undefined_flags = af | pf;
    }
  }
}

void add_raw(Forms& forms) {
  forms.raw("cbw", {0x66, 0x98});
  forms.raw("cwde", {0x98});
  forms.raw("cdqe", {0x48, 0x98});
  forms.raw("cwd", {0x66, 0x99});
  forms.raw("cdq", {0x99});
  forms.raw("cqo", {0x48, 0x99});
  forms.raw("clc", {0xf8});
  forms.raw("stc", {0xf9});
  forms.raw("cmc", {0xf5});
  forms.raw("cld", {0xfc});
  forms.raw("std", {0xfd});
  forms.raw("lahf", {0x9f});
  forms.raw("sahf", {0x9e});
  forms.raw("nop", {0x90});
  forms.raw("nop m", {0x0f, 0x1f, 0x44, 0, 0});
  forms.raw("pause", {0xf3, 0x90});
  forms.raw("endbr64", {0xf3, 0x0f, 0x1e, 0xfa});
  forms.raw("mfence", {0x0f, 0xae, 0xf0});
  forms.raw("lfence", {0x0f, 0xae, 0xe8});
  forms.raw("sfence", {0x0f, 0xae, 0xf8});
  forms.raw("ud2", {0x0f, 0x0b});
  forms.raw("pushf", {0x66, 0x9c});
  forms.raw("pushfq", {0x9c});
  forms.raw("popfq", {0x9d}, Setup::flags_on_stack);
  forms.raw("xlat", {0x48, 0x0f, 0xb6, 0xc0, 0x48, 0x89, 0xf3, 0xd7}, Setup::string);
  forms.raw("leave", {0x48, 0x89, 0xf5, 0xc9}, Setup::string);
  forms.raw("loop", {0xe2, 4, 0x48, 0x8d, 0x40, 1}, Setup::string);
  forms.raw("loope", {0xe1, 4, 0x48, 0x8d, 0x40, 1}, Setup::string);
  forms.raw("loopne", {0xe0, 4, 0x48, 0x8d, 0x40, 1}, Setup::string);
  forms.raw("jrcxz", {0xe3, 4, 0x48, 0x8d, 0x40, 1}, Setup::string);
  forms.raw("jecxz", {0x67, 0xe3, 4, 0x48, 0x8d, 0x40, 1}, Setup::string);
  forms.raw("jmp rel8", {0xeb, 4, 0x48, 0x8d, 0x40, 1});
  forms.raw("jmp rel32", {0xe9, 4, 0, 0, 0, 0x48, 0x8d, 0x40, 1});
  forms.raw("call rel32", {0xe8, 4, 0, 0, 0, 0x48, 0x8d, 0x40, 1});
  // call next; pop rax; lea rax, [rax + 8]; push rax; ret; nop nop nop: returns behind the ret
  forms.raw("ret", {0xe8, 0, 0, 0, 0, 0x58, 0x48, 0x8d, 0x40, 7, 0x50, 0xc3});
  forms.raw("ret imm16", {0xe8, 0, 0, 0, 0, 0x58, 0x48, 0x8d, 0x40, 9, 0x50, 0xc2, 0x18, 0});
  // lea rax, [rip + 2]; jmp rax / call rax
  forms.raw("jmp r", {0x48, 0x8d, 0x05, 2, 0, 0, 0, 0xff, 0xe0});
  forms.raw("call r", {0x48, 0x8d, 0x05, 2, 0, 0, 0, 0xff, 0xd0});
  // the same through memory: mov [rsi], rax before
  forms.raw("jmp m", {0x48, 0x8d, 0x05, 5, 0, 0, 0, 0x48, 0x89, 0x06, 0xff, 0x26}, Setup::string);
  forms.raw("call m", {0x48, 0x8d, 0x05, 5, 0, 0, 0, 0x48, 0x89, 0x06, 0xff, 0x16}, Setup::string);
  for (const int opcode : {0xa4, 0xa6, 0xaa, 0xac, 0xae}) { // movs cmps stos lods scas
    for (const unsigned size : {1U, 2U, 4U, 8U}) {
      for (const int prefix : {0, 0xf3, 0xf2}) {
        std::vector<std::uint8_t> bytes;
        if (size == 2) bytes.push_back(0x66);
        if (prefix != 0) bytes.push_back(static_cast<std::uint8_t>(prefix));
        if (size == 8) bytes.push_back(0x48);
        bytes.push_back(static_cast<std::uint8_t>(size == 1 ? opcode : opcode + 1));
        forms.raw(fmt::format("string {:02x} prefix {:02x} {}", opcode, prefix, 8 * size),
                  std::move(bytes), Setup::string);
      }
    }
  }
}

} // namespace

std::vector<Form> all_forms() {
  Forms forms;
  add_arithmetic(forms);
  add_shifts(forms);
  add_multiply_and_bits(forms);
  add_moves(forms);
  add_bmi(forms);
  add_raw(forms);
  return forms.take();
}

} // namespace slat::test
