#include "slat/doctor_print.hpp"

#include "vmm/printable.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace slat::tool {

namespace {

constexpr std::size_t status_width = 10;
constexpr std::size_t area_width = 13;
constexpr std::size_t indent = status_width + area_width;

const char* colour_of(Status status) {
  switch (status) {
  case Status::ok:
    return "\x1b[32m";
  case Status::degraded:
    return "\x1b[33m";
  case Status::missing:
    break;
  }
  return "\x1b[31m";
}

/// Appends `text` from column `indent` on, which is where the output is now, and ends the line.
void put_wrapped(std::string& out, std::string_view text) {
  std::size_t column = indent;
  bool first = true;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    if (!first && column + 1 + word.size() > report_width) {
      out += fmt::format("\n{:{}}", "", indent);
      column = indent;
      first = true;
    }
    if (!first) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
    first = false;
  }
  out += '\n';
}

void put_check(std::string& out, Status status, std::string_view area, const std::string& finding,
               const std::string& mend, bool colours) {
  const std::string_view word = to_string(status);
  out += colours ? fmt::format("{}{}\x1b[0m", colour_of(status), word) : std::string(word);
  out += fmt::format("{:{}}{:<{}}", "", status_width - word.size(), area, area_width);
  put_wrapped(out, vmm::printable(finding));
  if (mend.empty()) return;
  out += fmt::format("{:{}}", "", indent);
  put_wrapped(out, "mend: " + vmm::printable(mend));
}

const char* yes_or_no(bool value) {
  return value ? "yes" : "no";
}

std::string verdict_text(const Verdict& verdict) {
  return fmt::format("slat can: boot own guests {}{}, serve faults {}, boot Linux: {}{}",
                     yes_or_no(verdict.boots_own_guests),
                     !verdict.boots_own_guests && verdict.boots_in_software ? " (in software yes)"
                                                                            : "",
                     yes_or_no(verdict.serves_faults), yes_or_no(verdict.boots_linux),
                     verdict.boots_linux ? "" : " on this host, because " + verdict.why_not_linux);
}

} // namespace

std::string report_text(const Report& report, bool colours) {
  std::string out;
  for (const Check& check : report.checks)
    put_check(out, check.status, check.area, check.finding, check.mend, colours);
  put_check(out, report.verdict.status, "verdict", verdict_text(report.verdict), {}, colours);
  return out;
}

nlohmann::ordered_json report_json(const Report& report) {
  nlohmann::ordered_json out;
  out["kernel"] = report.kernel_release;
  out["checks"] = nlohmann::ordered_json::array();
  for (const Check& check : report.checks) {
    nlohmann::ordered_json entry = {{"area", check.area},
                                    {"name", check.name},
                                    {"status", to_string(check.status)},
                                    {"finding", check.finding}};
    if (!check.mend.empty()) entry["mend"] = check.mend;
    if (check.status == Status::missing) entry["permission"] = check.permission;
    out["checks"].push_back(std::move(entry));
  }
  const Verdict& verdict = report.verdict;
  out["verdict"] = {{"status", to_string(verdict.status)},
                    {"boots_own_guests", verdict.boots_own_guests},
                    {"boots_in_software", verdict.boots_in_software},
                    {"serves_faults", verdict.serves_faults},
                    {"boots_linux", verdict.boots_linux}};
  if (!verdict.boots_linux) out["verdict"]["why_not_linux"] = verdict.why_not_linux;
  out["exit_code"] = exit_code_of(report);
  return out;
}

} // namespace slat::tool
