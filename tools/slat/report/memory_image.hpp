// Guest memory over time as pixels, and the colours of its states.
#pragma once

#include "slat/report/png.hpp"
#include "slat/report/recording.hpp"

#include <string>
#include <string_view>

namespace slat::reporting {

/// For people: "absent", "not mapped".
[[nodiscard]] std::string state_label(std::string_view state);
/// A CSS colour: that of `slat dump stage2 --picture` where that has the state. What is absent is the page's background.
[[nodiscard]] std::string state_css(std::string_view state);

/// A line for each slice, the lowest address at the bottom; columns are equal times. Colours are mixed in linear light,
/// by share; what is absent is transparent. At least two steps, one slice.
[[nodiscard]] Picture memory_image(const MemorySteps& memory);

/// The share of a state in each of `rows` (1 to `slices`) parts of the memory, lowest address first, a digit each: '0' to
/// '9', 'A' to 'Z', 'a' to 'z', '-', '_' for 0 to 63 of 63.
[[nodiscard]] std::string share_digits(const MemorySteps::Step& step, std::size_t state,
                                       std::size_t slices, std::size_t rows);

} // namespace slat::reporting
