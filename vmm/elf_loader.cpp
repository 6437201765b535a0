// First parse_* and check_* look at the whole image, then write_segments writes; nothing refuses
// after that.
#include "vmm/elf_loader.hpp"

#include "vmm/layout.hpp"
#include "vmm/printable.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <elf.h>
#include <fmt/format.h>
#include <string>
#include <vector>

namespace slat::vmm {
namespace {

constexpr std::size_t max_program_headers = 128;
constexpr std::string_view damaged = "the file is damaged or cut off; build or copy it again";

/// Whether [start, start + size) lies within [0, limit), without wrapping.
bool fits(std::uint64_t start, std::uint64_t size, std::uint64_t limit) {
  return start <= limit && size <= limit - start;
}

template <class T> T load(std::span<const std::byte> image, std::uint64_t offset) {
  T value;
  std::memcpy(&value, image.data() + offset, sizeof value);
  return value;
}

bool begins_with(std::span<const std::byte> image, std::string_view bytes) {
  return image.size() >= bytes.size() && std::memcmp(image.data(), bytes.data(), bytes.size()) == 0;
}

/// What a file that is not ELF seems to be, with the mend.
std::string describe_foreign(std::span<const std::byte> image) {
  struct Format {
    std::string_view magic;
    std::string_view what;
  };

  using namespace std::string_view_literals;
  static constexpr std::array<Format, 9> formats{{
      {"\x1f\x8b"sv, "gzip-compressed; decompress it first"sv},
      {"\xfd"
       "7zXZ\0"sv,
       "xz-compressed; decompress it first"sv},
      {"\x28\xb5\x2f\xfd"sv, "zstd-compressed; decompress it first"sv},
      {"\x02\x21\x4c\x18"sv, "lz4-compressed; decompress it first"sv},
      {"BZh"sv, "bzip2-compressed; decompress it first"sv},
      {"070701"sv, "a cpio archive (an initramfs?); give a kernel"sv},
      {"!<arch>\n"sv, "an archive of object files; give a linked kernel"sv},
      {"#!"sv, "a script; give a kernel"sv},
      {"MZ"sv, "a DOS or EFI program; give an ELF kernel"sv},
  }};
  for (const auto& [magic, what] : formats) {
    if (begins_with(image, magic)) return fmt::format("it seems to be {}", what);
  }
  return "it does not begin with the ELF signature; give an ELF kernel (vmlinux)";
}

struct Segment {
  std::size_t index; // in the program header table, for messages
  Gpa start;
  std::uint64_t size;      // in memory
  std::uint64_t offset;    // in the file
  std::uint64_t file_size; // at most size
  bool executable;

  [[nodiscard]] Gpa end() const { return start + size; }
};

struct Plan {
  Gpa entry = 0;
  std::vector<Segment> segments; // ascending, apart, none empty
  GuestNotes notes;
};

class ElfParser {
 public:
  ElfParser(std::span<const std::byte> image, std::string_view name, std::span<const GpaRange> ram)
      : image_(image), name_(name), ram_(ram) {}

  Result<Plan> parse();

 private:
  Result<void> check_header() const;
  Result<void> check_program_headers() const;
  Result<void> add_program_header(std::size_t index);
  Result<void> add_segment(std::size_t index, const Elf64_Phdr& header);
  Result<void> check_apart();
  Result<void> check_entry() const;

  [[nodiscard]] tl::unexpected<Error> bad(std::string_view what) const {
    return fail(Errc::bad_image, 0, fmt::format("kernel '{}': {}", printable(name_), what));
  }

  const std::span<const std::byte> image_;
  const std::string_view name_;
  const std::span<const GpaRange> ram_;
  Elf64_Ehdr header_{};
  Plan plan_;
};

Result<Plan> ElfParser::parse() {
  auto checked = check_header();
  if (!checked) return forward(checked);
  header_ = load<Elf64_Ehdr>(image_, 0);
  checked = check_program_headers();
  for (std::size_t i = 0; checked && i < header_.e_phnum; ++i) checked = add_program_header(i);
  if (checked) checked = check_apart();
  if (checked) checked = check_entry();
  if (!checked) return forward(checked);
  plan_.entry = header_.e_entry;
  return std::move(plan_);
}

Result<void> ElfParser::check_header() const {
  if (image_.empty()) return bad("the file is empty; give an ELF kernel (vmlinux)");
  if (!begins_with(image_, {ELFMAG, std::min<std::size_t>(SELFMAG, image_.size())}))
    return bad(describe_foreign(image_));
  if (image_.size() < sizeof(Elf64_Ehdr)) {
    return bad(fmt::format("it ends after {} bytes, inside its {}-byte ELF header; {}",
                           image_.size(), sizeof(Elf64_Ehdr), damaged));
  }
  const auto header = load<Elf64_Ehdr>(image_, 0);
  if (header.e_ident[EI_CLASS] != ELFCLASS64)
    return bad("it is not a 64-bit ELF file (ELF class); build it for x86-64");
  if (header.e_ident[EI_DATA] != ELFDATA2LSB)
    return bad("it is not little-endian; build it for x86-64");
  if (header.e_machine != EM_X86_64)
    return bad(fmt::format("it is for another machine (ELF machine {}); build it for x86-64",
                           header.e_machine));
  if (header.e_ident[EI_VERSION] != EV_CURRENT || header.e_version != EV_CURRENT)
    return bad(fmt::format("its ELF version is not 1; {}", damaged));
  switch (header.e_type) {
  case ET_EXEC:
    return {};
  case ET_DYN:
    return bad("it is position-independent (ET_DYN), and nothing would relocate it; link it with "
               "-static -no-pie");
  case ET_REL:
    return bad("it is an object file (ET_REL); link it");
  case ET_CORE:
    return bad("it is a core dump (ET_CORE); give a kernel");
  default:
    return bad(fmt::format("its ELF type {} is not an executable; link it with -static -no-pie",
                           header.e_type));
  }
}

Result<void> ElfParser::check_program_headers() const {
  if (header_.e_phnum == 0) return bad("it has no program headers, so nothing to load; link it");
  if (header_.e_phentsize != sizeof(Elf64_Phdr)) {
    return bad(fmt::format("its program headers have {} bytes instead of {}; {}",
                           header_.e_phentsize, sizeof(Elf64_Phdr), damaged));
  }
  if (header_.e_phnum == PN_XNUM || header_.e_phnum > max_program_headers) {
    return bad(fmt::format("it has {} program headers and at most {} are supported; merge segments "
                           "in its linker script",
                           header_.e_phnum == PN_XNUM ? std::string("65535 or more")
                                                      : std::to_string(header_.e_phnum),
                           max_program_headers));
  }
  if (!fits(header_.e_phoff, std::uint64_t{header_.e_phnum} * sizeof(Elf64_Phdr), image_.size())) {
    return bad(fmt::format(
        "its {} program headers at byte {:#x} reach past the end of the file ({:#x} bytes); {}",
        header_.e_phnum, header_.e_phoff, image_.size(), damaged));
  }
  return {};
}

Result<void> ElfParser::add_program_header(std::size_t index) {
  const auto header = load<Elf64_Phdr>(image_, header_.e_phoff + index * sizeof(Elf64_Phdr));
  if (header.p_type != PT_LOAD && header.p_type != PT_NOTE && header.p_type != PT_INTERP) return {};
  if (header.p_type == PT_INTERP)
    return bad("it asks for an interpreter (dynamic linking); link it with -static -no-pie");
  if (!fits(header.p_offset, header.p_filesz, image_.size())) {
    return bad(fmt::format(
        "segment {} ({:#x} bytes at byte {:#x}) reaches past the end of the file ({:#x} bytes); {}",
        index, header.p_filesz, header.p_offset, image_.size(), damaged));
  }
  if (header.p_type == PT_LOAD) return add_segment(index, header);
  return read_elf_notes(plan_.notes, image_.subspan(header.p_offset, header.p_filesz),
                        header.p_align, name_, ram_);
}

Result<void> ElfParser::add_segment(std::size_t index, const Elf64_Phdr& header) {
  if (header.p_filesz > header.p_memsz) {
    return bad(
        fmt::format("segment {} has {:#x} bytes in the file and room for {:#x} in memory; {}",
                    index, header.p_filesz, header.p_memsz, damaged));
  }
  if (header.p_memsz == 0) return {};
  const auto where =
      fmt::format("segment {} ({:#x} bytes at {:#x})", index, header.p_memsz, header.p_paddr);
  if (!fits(header.p_paddr, header.p_memsz, UINT64_MAX))
    return bad(fmt::format("{} wraps around the end of the address space; {}", where, damaged));
  if (header.p_paddr < high_ram_start) {
    return bad(fmt::format(
        "{} begins below 1 MiB, where boot structures are; link it at 1 MiB or above", where));
  }
  if (!contains(ram_, header.p_paddr, header.p_memsz)) {
    return bad(fmt::format(
        "{} does not lie in guest RAM; give the guest more memory or link it lower", where));
  }
  plan_.segments.push_back({index, header.p_paddr, header.p_memsz, header.p_offset, header.p_filesz,
                            (header.p_flags & PF_X) != 0});
  return {};
}

Result<void> ElfParser::check_apart() {
  auto& segments = plan_.segments;
  if (segments.empty()) return bad("it has no segment to load (PT_LOAD); link it as a program");
  std::sort(segments.begin(), segments.end(),
            [](const Segment& a, const Segment& b) { return a.start < b.start; });
  const auto clash =
      std::adjacent_find(segments.begin(), segments.end(),
                         [](const Segment& a, const Segment& b) { return a.end() > b.start; });
  if (clash == segments.end()) return {};
  return bad(fmt::format("segments {} and {} overlap at {:#x}; set their physical addresses apart "
                         "in the linker script",
                         clash[0].index, clash[1].index, clash[1].start));
}

Result<void> ElfParser::check_entry() const {
  const Gpa entry = header_.e_entry;
  for (const auto& segment : plan_.segments) {
    if (segment.executable && entry >= segment.start && entry - segment.start < segment.file_size)
      return {};
  }
  return bad(fmt::format(
      "its entry {:#x} is in no executable segment; the entry must be a physical address with code",
      entry));
}

Result<void> zero(GuestMemory& memory, Gpa start, std::uint64_t size) {
  static constexpr std::array<std::byte, 4 * kib> zeroes{};
  while (size != 0) {
    const std::uint64_t here = std::min<std::uint64_t>(size, zeroes.size());
    auto written = memory.write(start, std::span(zeroes).first(here));
    if (!written) return written;
    start += here;
    size -= here;
  }
  return {};
}

Result<void> write_segments(GuestMemory& memory, std::span<const std::byte> image,
                            std::span<const Segment> segments) {
  for (const auto& segment : segments) {
    if (segment.file_size != 0) {
      auto written = memory.write(segment.start, image.subspan(segment.offset, segment.file_size));
      if (!written) return written;
    }
    auto zeroed = zero(memory, segment.start + segment.file_size, segment.size - segment.file_size);
    if (!zeroed) return zeroed;
  }
  return {};
}

} // namespace

Result<LoadedKernel> load_elf(GuestMemory& memory, std::span<const std::byte> image,
                              std::string_view name) {
  auto plan = ElfParser(image, name, memory.ranges()).parse();
  if (!plan) return forward(plan);
  auto written = write_segments(memory, image, plan->segments);
  if (!written) return forward(written);
  return LoadedKernel{plan->entry, plan->segments.front().start, plan->segments.back().end(),
                      plan->notes};
}

} // namespace slat::vmm
