// The image files themselves: what a loader relies on, and that the code keeps to plain integer
// instructions.
#include "guests/abi.hpp"
#include "guests/builtin.hpp"

#include <Zydis/Zydis.h>
#include <cstring>
#include <elf.h>
#include <gtest/gtest.h>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace slat::guest {
namespace {

class Image {
 public:
  explicit Image(std::span<const std::byte> file) : file_(file), header_(at<Elf64_Ehdr>(0)) {}

  template <class T> [[nodiscard]] T at(std::uint64_t offset) const {
    T value;
    EXPECT_LE(offset + sizeof value, file_.size());
    std::memcpy(&value, file_.data() + offset, sizeof value);
    return value;
  }

  [[nodiscard]] const Elf64_Ehdr& header() const { return header_; }

  [[nodiscard]] std::vector<Elf64_Phdr> segments(std::uint32_t type) const {
    std::vector<Elf64_Phdr> out;
    for (unsigned i = 0; i < header_.e_phnum; ++i) {
      const auto segment = at<Elf64_Phdr>(header_.e_phoff + i * sizeof(Elf64_Phdr));
      if (segment.p_type == type) out.push_back(segment);
    }
    return out;
  }

  [[nodiscard]] std::span<const std::byte> content(const Elf64_Phdr& segment) const {
    return file_.subspan(segment.p_offset, segment.p_filesz);
  }

  // The notes of the owner "slat", by type.
  [[nodiscard]] std::map<std::uint32_t, std::vector<std::byte>> notes() const {
    std::map<std::uint32_t, std::vector<std::byte>> out;
    for (const Elf64_Phdr& segment : segments(PT_NOTE)) {
      for (std::uint64_t at_note = 0; at_note < segment.p_filesz;) {
        const auto note = at<Elf64_Nhdr>(segment.p_offset + at_note);
        const std::uint64_t name = segment.p_offset + at_note + sizeof note;
        const std::uint64_t desc = name + (note.n_namesz + 3) / 4 * 4;
        if (note.n_namesz == sizeof note_owner &&
            std::memcmp(file_.data() + name, note_owner, sizeof note_owner) == 0) {
          const auto bytes = file_.subspan(desc, note.n_descsz);
          EXPECT_TRUE(out.emplace(note.n_type, std::vector(bytes.begin(), bytes.end())).second);
        }
        at_note = desc + (note.n_descsz + 3) / 4 * 4 - segment.p_offset;
      }
    }
    return out;
  }

 private:
  std::span<const std::byte> file_;
  Elf64_Ehdr header_;
};

template <class T> T value_of(const std::vector<std::byte>& bytes) {
  T value{};
  EXPECT_EQ(bytes.size(), sizeof value);
  std::memcpy(&value, bytes.data(), std::min(sizeof value, bytes.size()));
  return value;
}

struct Named {
  const char* name;
  std::span<const std::byte> (*file)();
};

class GuestImage : public testing::TestWithParam<Named> {
 protected:
  Image image_{GetParam().file()};
};

TEST_P(GuestImage, IsAStaticElfForX86_64) {
  const Elf64_Ehdr& h = image_.header();
  ASSERT_EQ(std::memcmp(h.e_ident, ELFMAG, SELFMAG), 0);
  EXPECT_EQ(h.e_ident[EI_CLASS], ELFCLASS64);
  EXPECT_EQ(h.e_ident[EI_DATA], ELFDATA2LSB);
  EXPECT_EQ(h.e_type, ET_EXEC);
  EXPECT_EQ(h.e_machine, EM_X86_64);
  EXPECT_TRUE(image_.segments(PT_INTERP).empty());
  EXPECT_TRUE(image_.segments(PT_DYNAMIC).empty());
}

TEST_P(GuestImage, LoadsPageAlignedFromOneMiBUpWhereItIsLinked) {
  const auto loads = image_.segments(PT_LOAD);
  ASSERT_FALSE(loads.empty());
  std::uint64_t end = image_base;
  for (const Elf64_Phdr& s : loads) {
    EXPECT_EQ(s.p_paddr, s.p_vaddr);
    EXPECT_EQ(s.p_paddr % page_size, 0u);
    EXPECT_GE(s.p_paddr, end);
    EXPECT_GE(s.p_memsz, s.p_filesz);
    EXPECT_NE(s.p_flags & (PF_W | PF_X), std::uint32_t{PF_W | PF_X});
    end = s.p_paddr + s.p_memsz;
  }
  EXPECT_EQ(loads.front().p_paddr, image_base);
  EXPECT_LE(end, image_base + 1024 * 1024); // so that small guests have RAM left
}

TEST_P(GuestImage, EntryIsInItsCode) {
  const std::uint64_t entry = image_.header().e_entry;
  const Elf64_Phdr code = image_.segments(PT_LOAD).front();
  EXPECT_EQ(code.p_flags, std::uint32_t{PF_R | PF_X});
  EXPECT_GE(entry, code.p_paddr);
  EXPECT_LT(entry, code.p_paddr + code.p_filesz);
}

// What hosts that emulate CPL 0, and software vCPUs, can be relied on to execute.
TEST_P(GuestImage, HasOnlyPlainIntegerInstructions) {
  ZydisDecoder decoder;
  ASSERT_TRUE(
      ZYAN_SUCCESS(ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)));
  const Elf64_Phdr code = image_.segments(PT_LOAD).front();
  const auto bytes = image_.content(code);
  std::size_t count = 0;
  for (std::size_t at = 0; at < bytes.size();) {
    ZydisDecodedInstruction i;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    ASSERT_TRUE(ZYAN_SUCCESS(
        ZydisDecoderDecodeFull(&decoder, bytes.data() + at, bytes.size() - at, &i, operands)))
        << "at offset " << at;
    const std::string name = ZydisMnemonicGetString(i.mnemonic);
    const std::string set = ZydisISASetGetString(i.meta.isa_set);
    EXPECT_EQ(i.encoding, ZYDIS_INSTRUCTION_ENCODING_LEGACY) << name << " at " << at;
    static const std::set<std::string> plain{"I86",  "I186",        "I286PROTECTED", "I286REAL",
                                             "I386", "I486REAL",    "CMOV",          "FAT_NOP",
                                             "PPRO", "PENTIUMREAL", "LONGMODE",      "PAUSE"};
    EXPECT_TRUE(plain.contains(set)) << name << " of " << set << " at " << at;
    EXPECT_NE(i.mnemonic, ZYDIS_MNEMONIC_INT3);
    EXPECT_NE(i.mnemonic, ZYDIS_MNEMONIC_INT);
    EXPECT_NE(i.mnemonic, ZYDIS_MNEMONIC_SYSCALL);
    at += i.length;
    ++count;
  }
  EXPECT_GT(count, 500u);
}

INSTANTIATE_TEST_SUITE_P(Builtin, GuestImage,
                         testing::Values(Named{"hello", &builtin_hello},
                                         Named{"memstress", &builtin_memstress}),
                         [](const auto& param) { return std::string(param.param.name); });

TEST(HelloImage, StartsOnTheFirstVcpuOnlyAndHasNoMailbox) {
  const auto notes = Image(builtin_hello()).notes();
  ASSERT_TRUE(notes.contains(note_flags));
  EXPECT_EQ(value_of<std::uint32_t>(notes.at(note_flags)), 0u);
  EXPECT_FALSE(notes.contains(note_mailbox));
}

TEST(MemstressImage, StartsEveryVcpu) {
  const auto notes = Image(builtin_memstress()).notes();
  ASSERT_TRUE(notes.contains(note_flags));
  EXPECT_EQ(value_of<std::uint32_t>(notes.at(note_flags)), note_flag_every_vcpu);
}

TEST(MemstressImage, HasAMailboxWithMagicAndVersionInTheFile) {
  const Image image(builtin_memstress());
  const auto notes = image.notes();
  ASSERT_TRUE(notes.contains(note_mailbox));
  const auto gpa = value_of<std::uint64_t>(notes.at(note_mailbox));
  EXPECT_EQ(gpa % page_size, 0u);
  std::optional<std::uint64_t> offset;
  for (const Elf64_Phdr& s : image.segments(PT_LOAD)) {
    if (gpa >= s.p_paddr && gpa + page_size <= s.p_paddr + s.p_filesz) {
      EXPECT_NE(s.p_flags & PF_W, 0u);
      offset = s.p_offset + (gpa - s.p_paddr);
    }
  }
  ASSERT_TRUE(offset.has_value());
  EXPECT_EQ(image.at<std::uint64_t>(*offset), mailbox_magic);
  EXPECT_EQ(image.at<std::uint32_t>(*offset + 8), mailbox_version);
}

} // namespace
} // namespace slat::guest
