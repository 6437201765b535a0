// GuestPhysical for tests of stage-2 faults: every page is absent until it is asked for, and may be taken away again.
// A page that comes back lies elsewhere, and where it was is overwritten: whoever uses an old pointer is found out.
#pragma once

#include "flat_memory.hpp"
#include "mmu/stage2/vcpu_flush.hpp"

#include <array>
#include <functional>
#include <random>

namespace slat::test {

class SwappedMemory final : public vmm::softcpu::GuestPhysical {
 public:
  using Access = vmm::softcpu::Access;

  /// `size` bytes at `gpa`, copied; they are absent then. Both are multiples of 4096. Without a flush.
  void add(std::uint64_t gpa, const void* content, std::uint64_t size) {
    for (std::uint64_t at = 0; at < size; at += 4096) {
      Frame& page = pages_[gpa + at];
      page.granted = 0;
      std::memcpy(page.bytes().bytes, static_cast<const std::byte*>(content) + at, 4096);
    }
  }

  /// Takes each page that is there away with a probability of one in `one_in` after every fault. `flush` is the vCPU's.
  void take_away(mmu::stage2::VcpuFlush& flush, unsigned one_in, std::uint64_t seed) {
    flush_ = &flush;
    one_in_ = one_in;
    random_.seed(seed);
  }

  /// Called first thing in every fault.
  void on_fault(std::function<void(std::uint64_t gpa)> hook) { hook_ = std::move(hook); }

  Page translate(std::uint64_t gpa, Access access) override {
    const auto at = pages_.find(gpa);
    if (at == pages_.end()) return {Kind::device, nullptr};
    if ((at->second.granted & bit(access)) == 0) return {Kind::absent, nullptr};
    return {Kind::memory, at->second.bytes().bytes};
  }

  mmu::FaultResult fault(std::uint64_t gpa, Access access) override {
    ++faults_;
    if (hook_) hook_(gpa);
    if (one_in_ != 0) {
      for (auto& [address, page] : pages_)
        if (page.granted != 0 && random_() % one_in_ == 0) remove(page);
      // At once, whoever waits: the vCPU is out of guest mode (I37).
      flush_->wait(flush_->request());
    }
    pages_.at(gpa).granted |= bit(access);
    return mmu::FaultResult::done;
  }

  /// Without the flush.
  void remove(std::uint64_t gpa) { remove(pages_.at(gpa)); }

  /// The page's content now, which only the next who is granted it sees for sure.
  [[nodiscard]] std::byte* content(std::uint64_t gpa) { return pages_.at(gpa).bytes().bytes; }

  [[nodiscard]] std::uint64_t faults() const { return faults_; }

 private:
  struct Frame {
    std::array<FlatMemory::Bytes, 2> copies{};
    unsigned used = 0;
    unsigned granted = 0; // by Access

    FlatMemory::Bytes& bytes() { return copies[used]; }
  };

  static unsigned bit(Access access) { return 1U << static_cast<unsigned>(access); }

  static void remove(Frame& page) {
    page.granted = 0;
    FlatMemory::Bytes& old = page.bytes();
    page.used ^= 1;
    page.bytes() = old;
    std::memset(old.bytes, 0xdb, sizeof old.bytes);
  }

  std::map<std::uint64_t, Frame> pages_;
  mmu::stage2::VcpuFlush* flush_ = nullptr;
  unsigned one_in_ = 0;
  std::mt19937_64 random_;
  std::function<void(std::uint64_t)> hook_;
  std::uint64_t faults_ = 0;
};

} // namespace slat::test
