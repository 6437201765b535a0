#include "vmm/elf_notes.hpp"

#include "elf_builder.hpp"
#include "matchers.hpp"
#include "vmm/layout.hpp"

#include <gtest/gtest.h>

namespace slat::vmm {
namespace {

const auto ram = ram_layout(4 * gib);

Result<GuestNotes> read(const Bytes& segment, std::uint64_t alignment = 4) {
  GuestNotes notes;
  auto done = read_elf_notes(notes, segment, alignment, "k.elf", ram);
  if (!done) return forward(done);
  return notes;
}

Bytes flags(std::uint32_t bits) {
  return make_note("slat", 1, bytes_of(bits));
}

Bytes mailbox(std::uint64_t page) {
  return make_note("slat", 2, bytes_of(page));
}

Bytes joined(std::initializer_list<Bytes> parts) {
  Bytes out;
  for (const auto& part : parts) out.insert(out.end(), part.begin(), part.end());
  return out;
}

TEST(ElfNotes, AreAbsentByDefault) {
  const auto notes = read({});
  ASSERT_TRUE(notes);
  EXPECT_FALSE(notes->all_vcpus_start);
  EXPECT_FALSE(notes->mailbox);
}

TEST(ElfNotes, AreReadAmongThoseOfOthers) {
  const auto notes =
      read(joined({make_note("GNU", 3, Bytes(20)), flags(1), make_note("Linux", 1, Bytes(7)),
                   mailbox(0x200000), make_note("slate", 9, Bytes(3))}));
  ASSERT_TRUE(notes) << notes.error().message;
  EXPECT_TRUE(notes->all_vcpus_start);
  EXPECT_EQ(notes->mailbox, 0x200000U);
}

TEST(ElfNotes, AreReadWithEightByteAlignment) {
  const auto notes = read(joined({make_note("Linux", 1, Bytes(7), 8),
                                  make_note("slat", 2, bytes_of(std::uint64_t{0x3000}), 8)}),
                          8);
  ASSERT_TRUE(notes) << notes.error().message;
  EXPECT_EQ(notes->mailbox, 0x3000U);
}

TEST(ElfNotes, FlagsOfZeroAreNone) {
  EXPECT_FALSE(read(flags(0))->all_vcpus_start);
}

TEST(ElfNotes, AddUpOverSegments) {
  GuestNotes notes;
  ASSERT_TRUE(read_elf_notes(notes, flags(1), 4, "k.elf", ram));
  ASSERT_TRUE(read_elf_notes(notes, mailbox(0x200000), 4, "k.elf", ram));
  EXPECT_TRUE(notes.all_vcpus_start);
  EXPECT_EQ(notes.mailbox, 0x200000U);
  EXPECT_THAT(read_elf_notes(notes, mailbox(0x200000), 4, "k.elf", ram),
              FailsWith(Errc::bad_image, "two slat mailbox"));
}

TEST(ElfNotes, RefuseUnknownTypesAndFlags) {
  EXPECT_THAT(read(make_note("slat", 3, Bytes(8))), FailsWith(Errc::bad_image, "type 3"));
  EXPECT_THAT(read(make_note("slat", 0, {})), FailsWith(Errc::bad_image, "type 0"));
  EXPECT_THAT(read(flags(2)), FailsWith(Errc::bad_image, "0x2"));
}

TEST(ElfNotes, RefuseWrongSizes) {
  EXPECT_THAT(read(make_note("slat", 1, Bytes(8))),
              FailsWith(Errc::bad_image, "flags note has 8 bytes"));
  EXPECT_THAT(read(make_note("slat", 1, {})), FailsWith(Errc::bad_image, "flags note has 0 bytes"));
  EXPECT_THAT(read(make_note("slat", 2, Bytes(4))),
              FailsWith(Errc::bad_image, "mailbox note has 4 bytes"));
}

TEST(ElfNotes, RefuseAMailboxThatIsNoPageOfRam) {
  EXPECT_THAT(read(mailbox(0x200008)), FailsWith(Errc::bad_image, "0x200008 is not 4 KiB aligned"));
  EXPECT_THAT(read(mailbox(3 * gib)), FailsWith(Errc::bad_image, "0xc0000000 is not in guest RAM"));
  EXPECT_THAT(read(mailbox(5 * gib)), FailsWith(Errc::bad_image, "not in guest RAM"));
  EXPECT_THAT(read(mailbox(UINT64_MAX & ~0xfffULL)),
              FailsWith(Errc::bad_image, "not in guest RAM"));
  EXPECT_TRUE(read(mailbox(5 * gib - 0x1000)));
}

TEST(ElfNotes, RefuseSizesThatReachPastTheSegment) {
  for (const std::size_t field : {std::size_t{0}, std::size_t{4}}) {
    for (const std::uint32_t size : {UINT32_MAX, UINT32_MAX - 2, 0x80000000U, 100U}) {
      auto note = mailbox(0x200000);
      std::memcpy(note.data() + field, &size, sizeof size);
      EXPECT_THAT(read(note), FailsWith(Errc::bad_image, "the note at byte 0"))
          << field << " " << size;
    }
  }
  auto second = mailbox(0x200000);
  second.pop_back();
  EXPECT_THAT(read(joined({flags(1), second})), FailsWith(Errc::bad_image, "the note at byte 24"));
}

TEST(ElfNotes, AcceptAnUnpaddedLastNoteAndShortPadding) {
  auto note = make_note("GNU", 3, Bytes(5));
  note.erase(note.end() - 3, note.end()); // g++ 12 suspects resize() of a wrap
  EXPECT_TRUE(read(note));
  EXPECT_TRUE(read(joined({flags(1), Bytes(11)})));
}

TEST(ElfNotes, RefuseAHugeSegment) {
  EXPECT_THAT(read(Bytes(max_note_segment_size + 1)), FailsWith(Errc::bad_image, "65537 bytes"));
  EXPECT_TRUE(read(Bytes(max_note_segment_size)));
}

} // namespace
} // namespace slat::vmm
