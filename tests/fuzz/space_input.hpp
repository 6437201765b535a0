// An input of fuzz_address_space: the options of the address space, then operations of eight bytes.
#pragma once

#include <cstdint>

struct SpaceOptions {
  std::uint8_t design;       // modulo how many there are
  std::uint8_t vma_limit;    // 0: none
  std::uint8_t commit_limit; // pages; 0: none
  std::uint8_t locked_limit; // pages; 0: none
  std::uint8_t window;       // odd: an address space with a window
  std::uint8_t unused[3];
};

enum class SpaceStep : std::uint8_t {
  map,
  unmap,
  protect,
  move,
  advise,
  lock,
  unlock,
  fault,
  write,
  read,
  reclaim,
  migrate,
  count
};

struct SpaceOperation {
  std::uint8_t step;   // modulo SpaceStep::count
  std::uint8_t page;   // of the stretch
  std::uint8_t length; // pages
  std::uint8_t to;     // page of the stretch: the target of a move; what is written
  std::uint8_t pgoff;  // page of the backing; the new length of a move
  std::uint8_t flags;  // access; advice
  std::uint8_t how;    // 1: replace or "to"; 2: anywhere or may_move; 4: the second backing
  std::uint8_t fail;   // the n-th failure, 0 for none: of the host below 64, else of an allocation
};

static_assert(sizeof(SpaceOptions) == 8 && sizeof(SpaceOperation) == 8);
