// Text for people, and for HTML.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace slat::reporting {

/// Fit for HTML text, and for attributes in either quotes: nothing in it is markup. Control characters but newline become
/// spaces. UTF-8 stays as it is.
[[nodiscard]] std::string escaped(std::string_view text);

/// JSON text that may stand inside <script>: no '<' is left in it.
[[nodiscard]] std::string script_safe(std::string_view json);

/// Three digits and a decimal prefix: "0", "0.25", "950", "1.2k", "34M". No NaN, no infinity: "-".
[[nodiscard]] std::string short_number(double value);
/// "123 456": groups of three, apart by thin spaces.
[[nodiscard]] std::string grouped(std::uint64_t value);
/// The same of a number that should be whole; what is out of range is clamped.
[[nodiscard]] std::string grouped_number(double value);
/// Nanoseconds: "850 ns", "6.1 µs", "12 ms", "1.5 s".
[[nodiscard]] std::string short_time(double ns);
/// Bytes, binary prefixes: "0", "4 KiB", "1.5 GiB".
[[nodiscard]] std::string short_bytes(double bytes);

} // namespace slat::reporting
