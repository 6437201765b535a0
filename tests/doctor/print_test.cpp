// The report as text and as JSON.
#include "fake_host.hpp"
#include "slat/doctor_print.hpp"

#include <cerrno>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sstream>

namespace slat::tool {
namespace {

using testing::HasSubstr;
using testing::Not;

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

HostFacts poor_facts() {
  HostFacts facts = perfect_facts();
  facts.kvm.flavour = kvm::Flavour::pvm;
  facts.uffd.offered = 0;
  facts.memory.overcommit = 2;
  return facts;
}

TEST(DoctorPrint, EveryLineBeginsWithAWordOrGoesOnFromTheOneAbove) {
  const auto lines = lines_of(report_text(judge(poor_facts()), false));
  ASSERT_GT(lines.size(), 20u);
  EXPECT_NE(lines.front().front(), ' ');
  for (const std::string& line : lines) {
    const std::string word = line.substr(0, line.find(' '));
    EXPECT_TRUE(word.empty() || word == "ok" || word == "degraded" || word == "missing") << line;
    EXPECT_LE(line.size(), report_width) << line;
    EXPECT_NE(line.back(), ' ') << line;
  }
}

TEST(DoctorPrint, WrappingLosesNoWord) {
  const Report report = judge(poor_facts());
  std::istringstream words(report_text(report, false));
  std::string joined;
  for (std::string word; words >> word;) joined += word + ' ';
  for (const Check& check : report.checks) {
    EXPECT_THAT(joined, HasSubstr(check.finding + ' '));
    if (!check.mend.empty()) {
      EXPECT_THAT(joined, HasSubstr("mend: " + check.mend + ' '));
    }
  }
}

TEST(DoctorPrint, TheVerdictIsTheLastEntryAndSaysWhyNotLinux) {
  HostFacts facts = perfect_facts();
  facts.kvm.flavour = kvm::Flavour::pvm;
  const std::string text = report_text(judge(facts), false);
  const std::size_t verdict = text.rfind("verdict");
  ASSERT_NE(verdict, std::string::npos);
  EXPECT_THAT(text.substr(verdict), HasSubstr("boot own guests yes"));
  EXPECT_THAT(text.substr(verdict), HasSubstr("on this host, because"));
  EXPECT_EQ(text.find("\nok", verdict), std::string::npos);
}

TEST(DoctorPrint, ColoursOnlyWhenAskedAndWithoutMovingColumns) {
  const Report report = judge(poor_facts());
  const std::string plain = report_text(report, false);
  std::string coloured = report_text(report, true);
  EXPECT_THAT(plain, Not(HasSubstr("\x1b")));
  EXPECT_THAT(coloured, HasSubstr("\x1b[31mmissing\x1b[0m"));
  for (const char* code : {"\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"})
    for (std::size_t at; (at = coloured.find(code)) != std::string::npos;)
      coloured.erase(at, std::string_view(code).size());
  EXPECT_EQ(coloured, plain);
}

TEST(DoctorPrint, ControlCharactersOfAPathDoNotReachTheTerminal) {
  HostFacts facts = perfect_facts();
  facts.kvm.open_error = kvm::Error{kvm::Errc::no_device, ENOENT, "/dev/\x1b[2J\n: gone"};
  EXPECT_THAT(report_text(judge(facts), false), HasSubstr("/dev/?[2J?: gone"));
}

TEST(DoctorPrint, JsonHoldsEveryCheckAndTheVerdict) {
  const Report report = judge(poor_facts());
  const auto json = nlohmann::json::parse(report_json(report).dump());
  ASSERT_EQ(json["checks"].size(), report.checks.size());
  for (std::size_t i = 0; i < report.checks.size(); ++i) {
    const auto& entry = json["checks"][i];
    EXPECT_EQ(entry["status"], to_string(report.checks[i].status));
    EXPECT_EQ(entry["finding"], report.checks[i].finding);
    EXPECT_EQ(entry.contains("mend"), report.checks[i].status != Status::ok);
  }
  EXPECT_EQ(json["exit_code"], 69);
  EXPECT_EQ(json["verdict"]["boots_own_guests"], false);
  EXPECT_TRUE(json["verdict"].contains("why_not_linux"));
}

} // namespace
} // namespace slat::tool
