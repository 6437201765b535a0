// ZeroSource: fresh RAM. An empty page of a memfd is a hole, so allocating it is all there is to
// do.
#pragma once

#include "mmu/page_source.hpp"

namespace slat::mmu {

class ZeroSource final : public PageSource {
 public:
  FillResult fill(Backing& backing, PageRun run) override;

  [[nodiscard]] bool may_sleep() const override { return false; }

  [[nodiscard]] bool is_uniform() const override { return true; }

  [[nodiscard]] std::string_view name() const override { return "zero"; }
};

} // namespace slat::mmu
