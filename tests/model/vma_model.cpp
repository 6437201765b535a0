// The vma-refcount lock: what a reader that is let in may rely on, and what a writer may.
#include "mmu/vma_lock/vma_refcount.hpp"

#include "model/vma_lock_model.hpp"

namespace slat::model {

using mmu::VmaRefcountOf;

[[maybe_unused]] static bool idle(const VmaRefcountOf<RelacyAtomics>& lock) {
  return lock.vm_refcnt() == 1;
}

namespace {

template <int Readers, std::uint64_t FirstSeq>
using Writer = WriterExcludesReaders<VmaRefcountOf, Readers, FirstSeq>;
template <int Readers, std::uint64_t FirstSeq>
using Reuse = DetachAndReuse<VmaRefcountOf, Readers, FirstSeq>;
template <int Readers, std::uint64_t SeqA, std::uint64_t SeqB>
using Recycled = RecycledIntoAnotherMm<VmaRefcountOf, Readers, SeqA, SeqB>;

constexpr Scenario scenarios[] = {
    MODEL_SCENARIO("writer_excludes_readers", Writer<2, 0>),
    MODEL_SMALL_SCENARIO("writer_excludes_one_reader", Writer<1, 0>),
    MODEL_SCENARIO("another_writer_follows", AnotherWriterFollows<VmaRefcountOf>),
    MODEL_SCENARIO("sequence_passes_2_31", Writer<2, below_2_31>),
    MODEL_SCENARIO("sequence_passes_2_32", Writer<2, below_2_32>),
    MODEL_SCENARIO("sequence_wraps", Writer<2, below_2_64>),
    MODEL_SCENARIO("detach_and_reuse", Reuse<2, below_2_64>),
    MODEL_SMALL_SCENARIO("detach_and_reuse_one_reader", Reuse<1, 0>),
    MODEL_SCENARIO("recycled_into_another_mm", Recycled<2, 0, 100>),
    MODEL_SCENARIO("recycled_at_equal_sequences", Recycled<2, 10, 10>),
    MODEL_SMALL_SCENARIO("recycled_one_reader", Recycled<1, 0, 100>),
    MODEL_SCENARIO("recycled_and_back", RecycledAndBack<VmaRefcountOf>),
};

} // namespace
} // namespace slat::model

int main(int argc, char** argv) {
  return slat::model::run_models(argc, argv, slat::model::scenarios);
}
