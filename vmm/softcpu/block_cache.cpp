#include "vmm/softcpu/block_cache.hpp"

#include "vmm/softcpu/decode.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <span>

namespace slat::vmm::softcpu {
namespace {

constexpr std::size_t most_instructions = 48;
constexpr std::size_t most_bytes = (Block::most_words - 1) * 8;

std::uint64_t load_word(const std::byte* aligned) {
  // Relaxed: what another vCPU writes into code takes effect when it does; see the SDM on cross-modifying code.
  auto* word = const_cast<std::uint64_t*>(reinterpret_cast<const std::uint64_t*>(aligned));
  return std::atomic_ref<std::uint64_t>(*word).load(std::memory_order_relaxed);
}

} // namespace

bool Block::is_code_at(const std::byte* at) const {
  const auto offset = reinterpret_cast<std::uintptr_t>(at) % 8;
  const std::byte* word = at - offset;
  std::uint64_t different = (load_word(word) ^ code[0]) & first_mask;
  for (std::size_t i = 1; i + 1 < words; ++i) different |= load_word(word + 8 * i) ^ code[i];
  different |= (load_word(word + 8 * (words - 1)) ^ code[words - 1]) & last_mask;
  return different == 0;
}

const Block* BlockCache::decode_block(std::uint64_t rip, std::byte* at, std::size_t room) {
  // One copy, word by word, is both what is decoded and what is compared later.
  const auto offset = reinterpret_cast<std::uintptr_t>(at) % 8;
  const std::byte* word = at - offset;
  const std::size_t available = std::min(room, most_bytes);
  auto block = std::make_unique<Block>();
  const std::size_t words = (offset + available + 7) / 8;
  for (std::size_t i = 0; i < words; ++i) block->code[i] = load_word(word + 8 * i);
  std::array<std::uint8_t, Block::most_words * 8> bytes{};
  std::memcpy(bytes.data(), block->code.data(), 8 * words);

  std::size_t used = 0;
  bool ends = false;
  while (!ends && block->ops.size() < most_instructions) {
    MicroOp op;
    const auto rest = std::span(bytes).subspan(offset + used, available - used);
    if (rest.empty() || decode(rest, rip + used, op, ends) == Decoded::truncated) break;
    // Bytes that are no instruction: all that could have become one have been looked at.
    used += op.length != 0 ? op.length : std::min(rest.size(), longest_instruction);
    block->ops.push_back(op);
  }
  if (block->ops.empty()) return nullptr;
  block->ops.push_back(block_end(rip + used));
  block->rip = rip;
  const std::size_t end = offset + used;
  block->words = static_cast<std::uint32_t>((end + 7) / 8);
  block->first_mask = ~std::uint64_t{0} << 8 * offset;
  block->last_mask = ~std::uint64_t{0} >> (8 * block->words - end) * 8;
  if (block->words == 1)
    block->first_mask &= block->last_mask, block->last_mask &= block->first_mask;
  ++decoded_;
  auto& slot_of_block = table_[slot(rip)];
  slot_of_block = std::move(block);
  return slot_of_block.get();
}

} // namespace slat::vmm::softcpu
