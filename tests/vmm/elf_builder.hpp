// Makes ELF files, right ones and wrong ones: every field can be changed before build().
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <elf.h>
#include <span>
#include <string_view>
#include <vector>

namespace slat::vmm {

using Bytes = std::vector<std::byte>;

template <class T> void append(Bytes& bytes, const T& value) {
  const auto raw = std::as_bytes(std::span(&value, 1));
  bytes.insert(bytes.end(), raw.begin(), raw.end());
}

inline void append_padded(Bytes& bytes, std::span<const std::byte> raw, std::size_t alignment) {
  bytes.insert(bytes.end(), raw.begin(), raw.end());
  while (bytes.size() % alignment != 0) bytes.push_back({});
}

template <class T> Bytes bytes_of(const T& value) {
  Bytes out;
  append(out, value);
  return out;
}

inline Bytes text_bytes(std::string_view text) {
  const auto raw = std::as_bytes(std::span(text));
  return {raw.begin(), raw.end()};
}

/// One ELF note; `owner` without its NUL.
inline Bytes make_note(std::string_view owner, std::uint32_t type, const Bytes& value,
                       std::size_t alignment = 4) {
  Bytes out;
  append(out, static_cast<std::uint32_t>(owner.size() + 1));
  append(out, static_cast<std::uint32_t>(value.size()));
  append(out, type);
  Bytes name = text_bytes(owner);
  name.push_back({});
  append_padded(out, name, alignment);
  append_padded(out, value, alignment);
  return out;
}

class ElfBuilder {
 public:
  static constexpr std::uint64_t load_address = 0x100000;

  ElfBuilder() {
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_ident[EI_VERSION] = EV_CURRENT;
    header.e_type = ET_EXEC;
    header.e_machine = EM_X86_64;
    header.e_version = EV_CURRENT;
    header.e_entry = load_address;
    header.e_phoff = sizeof(Elf64_Ehdr);
    header.e_ehsize = sizeof(Elf64_Ehdr);
    header.e_phentsize = sizeof(Elf64_Phdr);
  }

  /// Adds a segment and returns its program header, to be changed in place before the next add.
  Elf64_Phdr& add(std::uint32_t type, std::uint32_t flags, std::uint64_t address,
                  const Bytes& content, std::uint64_t memory_size) {
    Elf64_Phdr h{};
    h.p_type = type;
    h.p_flags = flags;
    h.p_offset = content_.size(); // build() adds what precedes it
    h.p_vaddr = address;
    h.p_paddr = address;
    h.p_filesz = content.size();
    h.p_memsz = memory_size;
    h.p_align = 4;
    content_.insert(content_.end(), content.begin(), content.end());
    programs.push_back(h);
    return programs.back();
  }

  Elf64_Phdr& add_code(std::uint64_t address = load_address,
                       const Bytes& content = Bytes(16, std::byte{0x90})) {
    return add(PT_LOAD, PF_R | PF_X, address, content, content.size());
  }

  Elf64_Phdr& add_notes(const Bytes& notes) { return add(PT_NOTE, PF_R, 0, notes, notes.size()); }

  [[nodiscard]] Bytes build() const {
    Elf64_Ehdr h = header;
    if (count_programs) h.e_phnum = static_cast<std::uint16_t>(programs.size());
    Bytes out;
    append(out, h);
    const std::uint64_t base = sizeof h + programs.size() * sizeof(Elf64_Phdr);
    for (Elf64_Phdr p : programs) {
      p.p_offset += base;
      append(out, p);
    }
    out.insert(out.end(), content_.begin(), content_.end());
    return out;
  }

  Elf64_Ehdr header{};
  std::vector<Elf64_Phdr> programs; // offsets count from the start of the contents
  bool count_programs = true;       // otherwise header.e_phnum stands

 private:
  Bytes content_;
};

/// A kernel of code, data with a zeroed tail, and notes of slat's.
inline ElfBuilder valid_kernel() {
  ElfBuilder elf;
  elf.add_code();
  elf.add(PT_LOAD, PF_R | PF_W, 0x102000, Bytes(100, std::byte{0xaa}), 0x3000);
  Bytes notes = make_note("slat", 1, bytes_of(std::uint32_t{1}));
  append_padded(notes, make_note("slat", 2, bytes_of(std::uint64_t{0x104000})), 4);
  elf.add_notes(notes);
  return elf;
}

} // namespace slat::vmm
