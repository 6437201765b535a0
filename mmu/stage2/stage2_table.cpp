#include "mmu/stage2/stage2_table.hpp"

#include "mmu/stage2/arm64_format.hpp"
#include "mmu/stage2/ept_format.hpp"
#include "mmu/stage2/stage2_dirty.hpp"
#include "mmu/stage2/stage2_reshape.hpp"
#include "mmu/stage2/stage2_zap.hpp"

namespace slat::mmu::stage2 {

template class Stage2Table<EptFormat>;
template class Stage2Table<Arm64Format>;

} // namespace slat::mmu::stage2
