// Any bytes as the input of slat report: a document or a refusal in one line; and of a document a page whose markup is the
// report's own.
#include "expect.hpp"
#include "slat/report/page.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

namespace slat::reporting {
// The build's are no part of this.
const std::string_view style_sheet = "";
const std::string_view script = "";
} // namespace slat::reporting

using namespace slat::reporting;

namespace {

constexpr std::array tags{
    "a",          "b",      "body",   "div",     "dl",    "dt",    "dd",    "details", "em",
    "figcaption", "figure", "footer", "h1",      "h2",    "h3",    "head",  "header",  "html",
    "i",          "image",  "input",  "label",   "main",  "meta",  "nav",   "output",  "p",
    "path",       "s",      "script", "section", "small", "span",  "style", "summary", "svg",
    "table",      "tbody",  "td",     "th",      "thead", "title", "tr",    "u",       "!DOCTYPE"};

bool has_only_its_own_markup(std::string_view html) {
  for (std::size_t at = html.find('<'); at != html.npos; at = html.find('<', at + 1)) {
    std::string_view name = html.substr(at + 1, 20);
    if (name.starts_with('/')) name.remove_prefix(1);
    name = name.substr(0, std::min(name.find_first_of(" >\n"), name.size()));
    if (std::ranges::find(tags, name) == tags.end()) return false;
  }
  return true;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto document = read_document({reinterpret_cast<const char*>(data), size});
  if (!document) {
    const std::string& why = document.error();
    expect(!why.empty() && why.size() < 1000, "a refusal says why, in a few words");
    expect(std::ranges::none_of(why, [](char c) { return std::uint8_t(c) < 0x20; }),
           "a refusal is one line");
    return 0;
  }
  const std::string html = page({*document, *document}, {.title = "", .version = "0"});
  expect(has_only_its_own_markup(html), "nothing from outside is markup");
  return 0;
}
