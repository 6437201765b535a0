// Writes the seed inputs of the fuzz targets: slat_fuzz_seeds <the corpus folder>.
#include "crash_input.hpp"
#include "elf_builder.hpp"

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <string>

using namespace slat::vmm;

bool write_space_seeds(const std::filesystem::path& folder); // space_seeds.cpp

namespace {

bool write(const std::filesystem::path& path, const Bytes& bytes) {
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  return file.good();
}

Bytes overlapping() {
  auto elf = valid_kernel();
  elf.programs[1].p_paddr = ElfBuilder::load_address;
  return elf.build();
}

Bytes high_kernel() {
  ElfBuilder elf;
  elf.header.e_entry = 0x100000000;
  elf.add_code(elf.header.e_entry);
  elf.add(PT_LOAD, PF_R, 0x11f000, Bytes(8), 0x2000); // across two ranges of RAM
  elf.add(PT_LOAD, PF_R, 0, {}, 0);
  return elf.build();
}

Bytes eight_byte_notes() {
  auto elf = valid_kernel();
  Bytes notes = make_note("GNU", 5, Bytes(16), 8);
  append_padded(notes, make_note("slat", 1, bytes_of(std::uint32_t{0}), 8), 8);
  elf.add_notes(notes).p_align = 8;
  return elf.build();
}

Bytes bz_image() {
  Bytes image(0x210);
  std::memcpy(image.data(), "MZ", 2);
  std::memcpy(image.data() + 0x202, "HdrS", 4);
  return image;
}

/// Tables at 0 that lead to themselves with `entry` in every slot, so that any rip finds them, and
/// code behind them.
Bytes crash(CrashInput input, std::uint64_t entry, std::initializer_list<std::uint8_t> code) {
  Bytes out = bytes_of(input);
  for (int i = 0; i < 512; ++i) append(out, entry);
  for (const std::uint8_t byte : code) append(out, byte);
  return out;
}

} // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: slat_fuzz_seeds <the corpus folder>\n");
    return 2;
  }
  const std::filesystem::path root = argv[1];
  const auto elf = root / "fuzz_elf_loader";
  const auto report = root / "fuzz_crash_report";
  const CrashInput long_mode{0x1000, 0x80000001, 0, 0x20, 0x500, 0, 1, 0};
  const CrashInput five_levels{0x1000, 0x80000001, 0, 0x1020, 0x500, 0, 1, 0};
  const CrashInput protected_mode{0x10, 0x11, 0, 0, 0, 0x1000, 2, 0};
  const CrashInput real_mode{0, 0x10, 0, 0, 0, 0x1000, 0, 0};
  bool good = write(elf / "valid", valid_kernel().build());
  good = write(elf / "overlapping", overlapping()) && good;
  good = write(elf / "high", high_kernel()) && good;
  good = write(elf / "eight_byte_notes", eight_byte_notes()) && good;
  good = write(elf / "bz_image", bz_image()) && good;
  good = write(report / "self_mapped", crash(long_mode, 0x7, {0x0f, 0x0b})) && good;
  good = write(report / "large_page", crash(long_mode, 0x87, {0x48, 0x8b, 0x19, 0xf4})) && good;
  good = write(report / "five_levels", crash(five_levels, 0x7, {0xf4})) && good;
  good =
      write(report / "protected_mode", crash(protected_mode, 0, {0xb8, 0x78, 0x56, 0x34, 0x12})) &&
      good;
  good = write(report / "real_mode", crash(real_mode, 0, {0xea, 0, 0, 0xff, 0xff})) && good;
  good = write(report / "not_present", crash(long_mode, 0x6, {})) && good;
  good = write_space_seeds(root / "fuzz_address_space") && good;
  if (!good) std::fprintf(stderr, "cannot write seeds under '%s'; check the path\n", argv[1]);
  return good ? 0 : 1;
}
