// What `slat bench scale` prints: tables of at most 80 columns, or JSON.
#pragma once

#include "slat/scale/study.hpp"

namespace slat::tool::scale {

struct Options {
  Assumptions assumptions;
  Extent extent;
  unsigned rounds = 3;
  std::string costs_file; // empty: measured
  std::string save_file;  // empty: not saved
  bool json = false;
};

/// What was found in each round. At least one.
struct Rounds {
  std::vector<Costs> costs;
  std::vector<Figures> figures;
  std::vector<Check> checks; // of the last round
  std::vector<std::string> notes;
};

void print_tables(const Options& options, const Rounds& rounds);
void print_json(const Options& options, const Rounds& rounds);

/// What the model takes for granted, in lines of at most 80 columns.
extern const char* const assumptions_text;

} // namespace slat::tool::scale
