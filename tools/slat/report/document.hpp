// Reading what `slat report` is given.
#pragma once

#include "slat/report/bench_result.hpp"
#include "slat/report/recording.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <variant>

namespace slat::reporting {

using Document = std::variant<Recording, BenchResult>;

/// What a file may have at most, in bytes.
inline constexpr std::size_t max_document = 64 << 20;

/// Any bytes. What comes out is consistent: sizes agree, times and bounds ascend, numbers are finite and those that count
/// are not negative. Errors: what is wrong, in a few words without a full stop, in printable ASCII.
[[nodiscard]] tl::expected<Document, std::string> read_document(std::string_view text);

} // namespace slat::reporting
