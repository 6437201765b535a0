// BlockCache: runs of decoded instructions, by their address.
//
// A block keeps a copy of the bytes it was decoded from, and is used only where the code page has these bytes still.
// So a block is dropped as soon as its page changes, by whomever: this vCPU, another one, a device or a loader, and no
// writer has to know which pages hold code. It also makes blocks independent of address spaces. An instruction that
// changes its own block takes effect when the block is left, which x86 allows where no branch comes in between.
#pragma once

#include "vmm/softcpu/micro_op.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace slat::vmm::softcpu {

struct Block {
  static constexpr std::size_t most_words = 16;

  std::uint64_t rip = 0;
  std::uint32_t words = 0;      // aligned words that the code lies in; 0: never valid
  std::uint64_t first_mask = 0; // the bytes of the first word that count
  std::uint64_t last_mask = 0;  // and of the last
  std::array<std::uint64_t, most_words> code{};
  std::vector<MicroOp> ops; // the last one does not return Flow::next

  /// `at` is the host address of the first instruction.
  [[nodiscard]] bool is_code_at(const std::byte* at) const;
};

class BlockCache {
 public:
  static constexpr std::size_t slots = 8192;

  BlockCache() : table_(slots) {}

  /// The block at `rip`, whose code is at host address `at`: `room` bytes up to the end of the page. nullptr: its first
  /// instruction goes on in the next page.
  [[nodiscard]] const Block* find(std::uint64_t rip, std::byte* at, std::size_t room) {
    const Block* block = table_[slot(rip)].get();
    if (block != nullptr && block->rip == rip && block->is_code_at(at)) [[likely]]
      return block;
    return decode_block(rip, at, room);
  }

  /// Blocks decoded so far, for tests.
  [[nodiscard]] std::uint64_t decoded() const { return decoded_; }

 private:
  static std::size_t slot(std::uint64_t rip) { return (rip ^ rip >> 13) % slots; }

  const Block* decode_block(std::uint64_t rip, std::byte* at, std::size_t room);

  std::vector<std::unique_ptr<Block>> table_;
  std::uint64_t decoded_ = 0;
};

} // namespace slat::vmm::softcpu
