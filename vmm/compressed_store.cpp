#include "vmm/compressed_store.hpp"

#include "mmu/alloc.hpp"

#include <array>
#include <bit>
#include <cstring>
#include <new>

#define ZSTD_STATIC_LINKING_ONLY // for contexts from our own allocator
#include <zstd.h>

namespace slat::vmm {

namespace {

constexpr std::size_t words = mmu::page_size / sizeof(std::uint64_t);

std::uint64_t word_of(mmu::PageBytes page, std::size_t index) {
  std::uint64_t word = 0;
  std::memcpy(&word, page.data() + index * sizeof word, sizeof word);
  return word;
}

/// Each step is a bijection of its lane, so pages that differ in one word of a lane differ in the sum.
std::uint64_t checksum_of(mmu::PageBytes page) {
  constexpr std::uint64_t odd = 0x9e3779b97f4a7c15;
  std::array<std::uint64_t, 4> lanes{1, 2, 3, 4};
  for (std::size_t i = 0; i < words; i += lanes.size())
    for (std::size_t lane = 0; lane < lanes.size(); ++lane)
      lanes[lane] = std::rotl(lanes[lane] ^ word_of(page, i + lane), 27) * odd;
  std::uint64_t sum = 0;
  for (const std::uint64_t lane : lanes) sum = std::rotl(sum, 17) * odd ^ lane ^ lane >> 31;
  return sum;
}

bool is_same_filled(mmu::PageBytes page) {
  // Against itself, one word further.
  return std::memcmp(page.data(), page.data() + sizeof(std::uint64_t),
                     page.size() - sizeof(std::uint64_t)) == 0;
}

void fill(mmu::PageRoom into, std::uint64_t word) {
  for (std::size_t i = 0; i < words; ++i)
    std::memcpy(into.data() + i * sizeof word, &word, sizeof word);
}

const ZSTD_customMem allocator = {
    [](void*, std::size_t size) { return mmu::allocate(size, alignof(std::max_align_t)); },
    [](void*, void* block) { mmu::deallocate(block); }, nullptr};

/// One of each for a thread, made when it first needs one. nullptr: no memory, now.
class Contexts {
 public:
  ~Contexts() {
    ZSTD_freeCCtx(compressor_);
    ZSTD_freeDCtx(decompressor_);
  }

  ZSTD_CCtx* compressor() {
    if (compressor_ == nullptr) compressor_ = ZSTD_createCCtx_advanced(allocator);
    return compressor_;
  }

  ZSTD_DCtx* decompressor() {
    if (decompressor_ == nullptr) decompressor_ = ZSTD_createDCtx_advanced(allocator);
    return decompressor_;
  }

 private:
  ZSTD_CCtx* compressor_ = nullptr;
  ZSTD_DCtx* decompressor_ = nullptr;
};

Contexts& contexts() {
  static thread_local Contexts mine;
  return mine;
}

} // namespace

CompressedStore::~CompressedStore() {
  const mmu::MutexGuard guard(mutex_);
  SLAT_CHECK(stats_.pages == 0, "a store goes away with pages in it");
  for (Slot* chunk : chunks_) mmu::deallocate(chunk);
}

CompressedStore::Slot CompressedStore::make(mmu::PageBytes page) const {
  Slot slot{};
  slot.data = nullptr;
  slot.checksum = checksum_of(page);
  if (is_same_filled(page)) {
    slot.kind = Kind::same_filled;
    slot.word = word_of(page, 0);
    return slot;
  }
  std::array<std::byte, mmu::page_size> room;
  std::size_t length = mmu::page_size;
  slot.kind = Kind::plain;
  if (ZSTD_CCtx* const context = contexts().compressor()) {
    // Fails too where the result would not be smaller than the page.
    const std::size_t done = ZSTD_compressCCtx(context, room.data(), room.size() - 1, page.data(),
                                               page.size(), options_.level);
    if (ZSTD_isError(done) == 0) {
      length = done;
      slot.kind = Kind::compressed;
    }
  }
  slot.length = std::uint16_t(length);
  slot.data = static_cast<std::byte*>(mmu::allocate(length, alignof(std::uint64_t)));
  if (slot.data != nullptr)
    std::memcpy(slot.data, slot.kind == Kind::compressed ? room.data() : page.data(), length);
  return slot;
}

bool CompressedStore::grow() {
  constexpr std::size_t bytes = chunk_slots * sizeof(Slot);
  if (chunks_.size() >= no_slot / chunk_slots) return false;
  auto* const chunk = static_cast<Slot*>(mmu::allocate(bytes, alignof(Slot)));
  if (chunk == nullptr) return false;
  try {
    chunks_.push_back(chunk);
  } catch (const std::bad_alloc&) {
    mmu::deallocate(chunk);
    return false;
  }
  const auto first = std::uint32_t((chunks_.size() - 1) * chunk_slots);
  for (std::uint32_t i = 0; i < chunk_slots; ++i) {
    Slot& slot = *new (chunk + i) Slot{};
    slot.next_free = i + 1 < chunk_slots ? first + i + 1 : no_slot;
  }
  free_ = first;
  return true;
}

void CompressedStore::count(const Slot& slot, bool in) {
  const auto add = [in](std::uint64_t& sum, std::uint64_t what) {
    sum = in ? sum + what : sum - what;
  };
  add(stats_.pages, 1);
  add(stats_.bytes, slot.length);
  add(stats_.same_filled, slot.kind == Kind::same_filled ? 1 : 0);
  add(stats_.uncompressed, slot.kind == Kind::plain ? 1 : 0);
}

std::optional<std::uint32_t> CompressedStore::put(mmu::PageBytes page) {
  const Slot made = make(page);
  const bool no_memory = made.kind != Kind::same_filled && made.data == nullptr;
  {
    const mmu::MutexGuard guard(mutex_);
    const bool room =
        !no_memory && stats_.bytes + made.length <= options_.limit && (free_ != no_slot || grow());
    if (room) {
      const std::uint32_t place = free_;
      Slot& slot = slot_at(place);
      free_ = slot.next_free;
      slot = made;
      count(slot, true);
      ++stats_.put_pages;
      stats_.put_bytes += slot.length;
      return place;
    }
    ++stats_.full_count;
  }
  if (made.kind != Kind::same_filled) mmu::deallocate(made.data);
  return std::nullopt;
}

mmu::FillResult CompressedStore::load(std::uint32_t slot, mmu::PageRoom into) {
  Slot kept{};
  {
    const mmu::MutexGuard guard(mutex_);
    kept = slot_at(slot);
    SLAT_CHECK(kept.kind != Kind::free, "a page is loaded from a free slot");
  }
  // The data stays: who loads is the slot's owner, and nobody else drops it.
  bool good = true;
  switch (kept.kind) {
  case Kind::same_filled:
    fill(into, kept.word);
    break;
  case Kind::plain:
    std::memcpy(into.data(), kept.data, into.size());
    break;
  case Kind::compressed: {
    ZSTD_DCtx* const context = contexts().decompressor();
    if (context == nullptr) return mmu::FillResult::no_memory;
    good = ZSTD_decompressDCtx(context, into.data(), into.size(), kept.data, kept.length) ==
           into.size();
    break;
  }
  case Kind::free:
    break;
  }
  if (good && checksum_of(into) == kept.checksum) return mmu::FillResult::filled;
  const mmu::MutexGuard guard(mutex_);
  ++stats_.damaged_pages;
  return mmu::FillResult::failed;
}

void CompressedStore::drop(std::uint32_t slot) {
  std::byte* data = nullptr;
  {
    const mmu::MutexGuard guard(mutex_);
    Slot& kept = slot_at(slot);
    SLAT_CHECK(kept.kind != Kind::free, "a slot is dropped twice");
    if (kept.kind != Kind::same_filled) data = kept.data;
    count(kept, false);
    kept = Slot{};
    kept.next_free = free_;
    free_ = slot;
  }
  mmu::deallocate(data);
}

CompressedStore::Stats CompressedStore::stats() const {
  const mmu::MutexGuard guard(mutex_);
  Stats stats = stats_;
  stats.limit = options_.limit;
  return stats;
}

void CompressedStore::damage(std::uint32_t slot, std::size_t at, std::byte bits) {
  const mmu::MutexGuard guard(mutex_);
  Slot& kept = slot_at(slot);
  SLAT_CHECK(kept.kind != Kind::free, "a free slot is damaged");
  if (kept.kind == Kind::same_filled)
    kept.word ^= std::uint64_t(bits) << at % sizeof kept.word * 8;
  else
    kept.data[at % kept.length] ^= bits;
}

} // namespace slat::vmm
