#include "vmm/stage2_dump.hpp"

#include "mmu/stage2/stage2_visit.hpp"
#include "vmm/layout.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <iterator>
#include <optional>
#include <string_view>

namespace slat::vmm {

namespace {

using mmu::stage2::DirtyTracking;
using mmu::stage2::EptFormat;
using mmu::stage2::LeafView;
using mmu::stage2::MemoryType;
using mmu::stage2::Permissions;

/// A size in at most 7 characters: exact ("2052K") where it fits.
std::string short_size(std::uint64_t bytes) {
  constexpr std::string_view suffixes = "KMGTPE";
  std::string exact = format_size(bytes);
  if (exact.size() <= 7) return exact;
  auto value = double(bytes);
  char suffix = ' ';
  for (std::size_t i = 0; i < suffixes.size() && value >= 1024; ++i) {
    value /= 1024;
    suffix = suffixes[i];
  }
  return fmt::format("{:.1f}{}", value, suffix);
}

/// A count in at most 8 characters.
std::string short_count(std::uint64_t count) {
  if (count < 100'000'000) return fmt::format("{}", count);
  return fmt::format("{}M", count / 1'000'000);
}

/// Leaves in a row, alike.
struct Run {
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t host;
  unsigned level;
  Permissions allowed;
  MemoryType type;
  std::uint64_t leaves = 1;
  std::uint64_t accessed;
  std::uint64_t dirty;

  explicit Run(const LeafView& leaf)
      : start(leaf.address), end(leaf.address + leaf.bytes), host(leaf.host), level(leaf.level),
        allowed(leaf.allowed), type(leaf.type), accessed(leaf.accessed ? 1 : 0),
        dirty(leaf.dirty ? 1 : 0) {}

  [[nodiscard]] bool goes_on(const LeafView& leaf, bool exact) const {
    return leaf.address == end && leaf.host == host + (end - start) && leaf.level == level &&
           leaf.allowed == allowed && leaf.type == type &&
           (!exact || ((accessed != 0) == leaf.accessed && (dirty != 0) == leaf.dirty));
  }

  void add(const LeafView& leaf) {
    end += leaf.bytes;
    ++leaves;
    accessed += leaf.accessed ? 1 : 0;
    dirty += leaf.dirty ? 1 : 0;
  }
};

class Dump {
 public:
  Dump(std::uint64_t limit, const Stage2DumpOptions& options)
      : options_(options), digits_(std::max<std::size_t>(8, fmt::format("{:x}", limit).size())) {}

  void add(const LeafView& leaf) {
    mapped_[leaf.level] += leaf.bytes;
    if (run_ && run_->goes_on(leaf, options_.exact)) {
      run_->add(leaf);
      return;
    }
    end_run();
    run_.emplace(leaf);
  }

  void end_run() {
    if (!run_) return;
    if (runs_++ < options_.max_lines) print(*run_);
    run_.reset();
  }

  [[nodiscard]] std::uint64_t mapped(unsigned level) const { return mapped_[level]; }

  /// The header row and the runs, once all have ended.
  [[nodiscard]] std::string table() const {
    if (runs_ == 0) return "nothing is mapped\n";
    std::string text =
        fmt::format("{:{}} {:>7} leaf rwx mt {:>8} {:>8} host (hex)\n", "guest range (hex)",
                    2 * digits_ + 1, "size", "accessed", "dirty");
    text += lines_;
    if (runs_ > options_.max_lines) {
      const std::uint64_t more = runs_ - options_.max_lines;
      text += fmt::format("... {} more range{}\n", more, more == 1 ? "" : "s");
    }
    return text;
  }

 private:
  void print(const Run& run) {
    fmt::format_to(std::back_inserter(lines_),
                   "{:0{}x}-{:0{}x} {:>7} {:>4} {}{}{} {} {:>8} {:>8} {:x}\n", run.start, digits_,
                   run.end, digits_, short_size(run.end - run.start),
                   format_size(EptFormat::span(run.level)), run.allowed.read ? 'r' : '-',
                   run.allowed.write ? 'w' : '-', run.allowed.execute ? 'x' : '-',
                   run.type == MemoryType::write_back ? "WB" : "UC", short_count(run.accessed),
                   short_count(run.dirty), run.host);
  }

  const Stage2DumpOptions& options_;
  const std::size_t digits_; // of guest addresses
  std::optional<Run> run_;
  std::string lines_;
  std::size_t runs_ = 0;
  std::array<std::uint64_t, EptFormat::max_leaf_level + 1> mapped_{}; // bytes, by level
};

} // namespace

std::string stage2_text(const mmu::stage2::Stage2Table<EptFormat>& table,
                        const Stage2DumpOptions& options) {
  const auto& shape = table.options();
  Dump dump(shape.limit, options);
  table.for_each_leaf(options.start, options.end, [&](const LeafView& leaf) { dump.add(leaf); });
  dump.end_run();
  const std::uint64_t pages = table.table_pages();
  std::string text =
      fmt::format("stage-2 table: EPT, {} levels, {} table page{} ({} KiB), dirty by {}\n",
                  shape.levels, pages, pages == 1 ? "" : "s", pages * 4,
                  shape.tracking == DirtyTracking::dirty_bits ? "D bits" : "write protection");
  text += fmt::format("mapped: {} by 4K leaves, {} by 2M leaves, {} by 1G leaves\n",
                      short_size(dump.mapped(1)), short_size(dump.mapped(2)),
                      short_size(dump.mapped(3)));
  return text + dump.table();
}

} // namespace slat::vmm
