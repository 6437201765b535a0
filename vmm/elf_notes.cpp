#include "vmm/elf_notes.hpp"

#include "vmm/layout.hpp"
#include "vmm/printable.hpp"

#include <algorithm>
#include <cstring>
#include <elf.h>
#include <fmt/format.h>

namespace slat::vmm {
namespace {

template <class T> T load(std::span<const std::byte> bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

class NoteReader {
 public:
  NoteReader(GuestNotes& notes, std::string_view image_name, std::span<const GpaRange> ram)
      : notes_(notes), image_name_(image_name), ram_(ram) {}

  Result<void> read(std::span<const std::byte> rest, std::size_t alignment);

 private:
  Result<void> own_note(std::uint32_t type, std::span<const std::byte> value);
  Result<void> flags(std::span<const std::byte> value);
  Result<void> mailbox(std::span<const std::byte> value);

  [[nodiscard]] tl::unexpected<Error> bad(std::string_view what) const {
    return fail(Errc::bad_image, 0, fmt::format("kernel '{}': {}", printable(image_name_), what));
  }

  GuestNotes& notes_;
  const std::string_view image_name_;
  const std::span<const GpaRange> ram_;
};

Result<void> NoteReader::read(std::span<const std::byte> segment, std::size_t alignment) {
  const auto padded = [alignment](std::uint64_t size) {
    return (size + alignment - 1) & ~(alignment - 1);
  };
  std::span<const std::byte> rest = segment;
  // Less than a header is padding.
  while (rest.size() >= sizeof(Elf64_Nhdr)) {
    const auto header = load<Elf64_Nhdr>(rest);
    // Sizes are 32 bits wide and sums 64, so that none can wrap.
    const std::uint64_t value_start = padded(sizeof header + std::uint64_t{header.n_namesz});
    const std::uint64_t value_end = value_start + header.n_descsz;
    if (value_end > rest.size()) {
      return bad(
          fmt::format("the note at byte {} of its note segment needs {} bytes and {} are left; "
                      "the image is damaged, build it again",
                      segment.size() - rest.size(), value_end, rest.size()));
    }
    const std::string_view owner(reinterpret_cast<const char*>(rest.data() + sizeof header),
                                 header.n_namesz); // which counts the terminating NUL
    notes_.is_linux |= owner == std::string_view("Linux", 6);
    if (owner == std::string_view("slat", note_owner.size() + 1)) {
      auto done = own_note(header.n_type, rest.subspan(value_start, header.n_descsz));
      if (!done) return done;
    }
    rest = rest.subspan(std::min<std::uint64_t>(padded(value_end), rest.size()));
  }
  return {};
}

Result<void> NoteReader::own_note(std::uint32_t type, std::span<const std::byte> value) {
  switch (type) {
  case note_type_flags:
    return flags(value);
  case note_type_mailbox:
    return mailbox(value);
  default:
    return bad(fmt::format(
        "its slat note of type {} is unknown to this version of slat; use a newer one", type));
  }
}

Result<void> NoteReader::flags(std::span<const std::byte> value) {
  if (value.size() != sizeof(std::uint32_t)) {
    return bad(
        fmt::format("its slat flags note has {} bytes; it must be a 4-byte number", value.size()));
  }
  const auto bits = load<std::uint32_t>(value);
  if ((bits & ~note_flag_all_vcpus) != 0) {
    return bad(fmt::format(
        "its slat flags note {:#x} has bits unknown to this version of slat; use a newer one",
        bits));
  }
  notes_.all_vcpus_start |= (bits & note_flag_all_vcpus) != 0;
  return {};
}

Result<void> NoteReader::mailbox(std::span<const std::byte> value) {
  if (value.size() != sizeof(Gpa)) {
    return bad(fmt::format("its slat mailbox note has {} bytes; it must be an 8-byte address",
                           value.size()));
  }
  if (notes_.mailbox) return bad("it has two slat mailbox notes; keep one");
  const auto page = load<Gpa>(value);
  if (page % guest_page_size != 0)
    return bad(
        fmt::format("its slat mailbox {:#x} is not 4 KiB aligned; align it in the image", page));
  if (!contains(ram_, page, guest_page_size)) {
    return bad(fmt::format(
        "its slat mailbox {:#x} is not in guest RAM; give the guest more memory or move it", page));
  }
  notes_.mailbox = page;
  return {};
}

} // namespace

Result<void> read_elf_notes(GuestNotes& notes, std::span<const std::byte> segment,
                            std::uint64_t alignment, std::string_view image_name,
                            std::span<const GpaRange> ram) {
  if (segment.size() > max_note_segment_size) {
    return fail(
        Errc::bad_image, 0,
        fmt::format(
            "kernel '{}': a note segment of {} bytes is more than {}; the image is damaged, "
            "build it again",
            printable(image_name), segment.size(), max_note_segment_size));
  }
  return NoteReader(notes, image_name, ram).read(segment, alignment == 8 ? 8 : 4);
}

} // namespace slat::vmm
