// A doctor's report as text and as JSON. Pure.
#pragma once

#include "slat/doctor_report.hpp"

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace slat::tool {

inline constexpr std::size_t report_width = 80; // columns

/// Each check is a line that begins with ok, degraded or missing; what does not fit goes on in lines that begin with a
/// space, the mend among them. The last entry is the verdict. A word that is longer than a line, such as a path, is not
/// cut.
[[nodiscard]] std::string report_text(const Report& report, bool colours);

/// The same as one object, with the exit code.
[[nodiscard]] nlohmann::ordered_json report_json(const Report& report);

} // namespace slat::tool
