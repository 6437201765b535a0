// Seeds of fuzz_address_space: each operation at its plainest, on a map where it has something to do.
#include "space_input.hpp"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

bool write_space_seeds(const std::filesystem::path& folder);

namespace {

using Operations = std::vector<SpaceOperation>;

constexpr std::uint8_t replace = 1, to_there = 1, anywhere = 2, may_move = 2, other = 4;
constexpr std::uint8_t rw = 3, ro = 1;

SpaceOperation op(SpaceStep step, unsigned page, unsigned pages, unsigned to = 0,
                  unsigned pgoff = 0, unsigned flags = rw, unsigned how = 0, unsigned fail = 0) {
  return {std::uint8_t(step),  std::uint8_t(page),  std::uint8_t(pages - 1), std::uint8_t(to),
          std::uint8_t(pgoff), std::uint8_t(flags), std::uint8_t(how),       std::uint8_t(fail)};
}

/// Three VMAs, of which two touch, with something written.
const Operations start{op(SpaceStep::map, 0, 8, 0, 0),
                       op(SpaceStep::map, 8, 6, 0, 20),
                       op(SpaceStep::map, 20, 8, 0, 0, rw, other),
                       op(SpaceStep::write, 3, 1, 0x55),
                       op(SpaceStep::write, 9, 1, 0x66),
                       op(SpaceStep::fault, 20, 4)};

const std::pair<const char*, Operations> seeds[] = {
    {"map_over", {op(SpaceStep::map, 6, 16, 0, 30, ro, replace)}},
    {"map_anywhere", {op(SpaceStep::map, 0, 5, 0, 30, rw, anywhere)}},
    {"map_between", {op(SpaceStep::map, 14, 6, 0, 26)}},
    {"map_taken_pages", {op(SpaceStep::map, 40, 4, 0, 6)}},
    {"unmap_middle", {op(SpaceStep::unmap, 2, 3)}},
    {"unmap_many", {op(SpaceStep::unmap, 4, 16), op(SpaceStep::unmap, 16, 16)}},
    {"protect_split_and_merge",
     {op(SpaceStep::protect, 2, 4, 0, 0, ro), op(SpaceStep::protect, 2, 4, 0, 0, rw)}},
    {"protect_across", {op(SpaceStep::protect, 4, 8, 0, 0, ro)}},
    {"shrink", {op(SpaceStep::move, 0, 8, 0, 2)}},
    {"grow", {op(SpaceStep::move, 8, 6, 0, 9)}},
    {"grow_by_moving", {op(SpaceStep::move, 0, 8, 0, 11, rw, may_move)}},
    {"move_to", {op(SpaceStep::move, 2, 4, 40, 3, rw, to_there)}},
    {"move_onto", {op(SpaceStep::move, 0, 8, 18, 7, rw, to_there)}},
    {"move_across", {op(SpaceStep::move, 4, 8, 44, 7, rw, to_there)}},
    {"dontneed", {op(SpaceStep::advise, 2, 8, 0, 0, 0)}},
    {"remove", {op(SpaceStep::advise, 2, 8, 0, 0, 1)}},
    {"populate", {op(SpaceStep::advise, 0, 14, 0, 0, 3)}},
    {"cold_and_pageout",
     {op(SpaceStep::advise, 0, 8, 0, 0, 4), op(SpaceStep::advise, 0, 8, 0, 0, 5)}},
    {"lock_and_unlock", {op(SpaceStep::lock, 2, 8), op(SpaceStep::unlock, 4, 2)}},
    {"move_locked", {op(SpaceStep::lock, 0, 8), op(SpaceStep::move, 2, 4, 40, 3, rw, to_there)}},
    {"host_fails_in_move", {op(SpaceStep::move, 0, 8, 18, 7, rw, to_there, 3)}},
    {"host_fails_in_map", {op(SpaceStep::map, 6, 16, 0, 30, ro, replace, 4)}},
    {"no_memory_in_unmap", {op(SpaceStep::unmap, 2, 3, 0, 0, 0, 0, 64)}},
    {"access_denied",
     {op(SpaceStep::protect, 0, 8, 0, 0, 0), op(SpaceStep::read, 3, 1),
      op(SpaceStep::fault, 3, 1)}},
    {"reclaim",
     {op(SpaceStep::reclaim, 0, 14), op(SpaceStep::read, 3, 1), op(SpaceStep::reclaim, 20, 8),
      op(SpaceStep::move, 20, 4, 44, 4, rw, to_there), op(SpaceStep::fault, 44, 4)}},
    {"reclaim_and_give_up",
     {op(SpaceStep::reclaim, 0, 14), op(SpaceStep::advise, 2, 4, 0, 0, 1),
      op(SpaceStep::unmap, 8, 3)}},
    {"migrate",
     {op(SpaceStep::migrate, 2, 4, 0, 40), op(SpaceStep::read, 3, 1),
      op(SpaceStep::migrate, 2, 4, 0, 2)}},
    {"migrate_across",
     {op(SpaceStep::reclaim, 8, 4), op(SpaceStep::migrate, 4, 8, 0, 40),
      op(SpaceStep::read, 9, 1)}},
    {"host_fails_in_migrate", {op(SpaceStep::migrate, 2, 4, 0, 40, 0, 0, 2)}},
    {"host_fails_in_reclaim", {op(SpaceStep::reclaim, 0, 14, 0, 0, 0, 0, 2)}},
};

} // namespace

bool write_space_seeds(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  bool good = true;
  std::uint8_t design = 0;
  for (const auto& [name, operations] : seeds) {
    // One after the other has another design, a window, limits.
    const SpaceOptions options{++design,
                               std::uint8_t(design % 3 == 0 ? 12 : 0),
                               std::uint8_t(design % 5 == 0 ? 40 : 0),
                               0,
                               std::uint8_t(design % 2),
                               {}};
    std::ofstream file(folder / name, std::ios::binary);
    file.write(reinterpret_cast<const char*>(&options), sizeof options);
    for (const Operations& part : {start, operations})
      file.write(reinterpret_cast<const char*>(part.data()),
                 std::streamsize(part.size() * sizeof(SpaceOperation)));
    good = file.good() && good;
  }
  return good;
}
