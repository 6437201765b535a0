#include "slat/report/document.hpp"

#include "slat/report/fields.hpp"
#include "vmm/printable.hpp"

#include <array>
#include <fmt/format.h>
#include <string>

namespace slat::reporting {

namespace {

/// More than any document of ours has. What is deeper would be taken down by recursion; each new member is compared with
/// all that its object has.
constexpr unsigned most_levels = 16;
constexpr unsigned most_members = 1000;

/// What is wrong with the structure, by its brackets and colons alone; empty if nothing is. The text may be no JSON at
/// all.
std::string_view structure_error(std::string_view text) {
  std::array<unsigned, most_levels + 1> members{};
  unsigned level = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++level > most_levels) return "it is nested too deeply to be one of slat's";
      members[level] = 0;
    } else if ((c == '}' || c == ']') && level != 0) {
      --level;
    } else if (c == ':' && ++members[level] > most_members) {
      return "it has an object with too many members to be one of slat's";
    }
  }
  return {};
}

tl::unexpected<std::string> refused(std::string why) {
  return tl::unexpected<std::string>(std::move(why));
}

} // namespace

tl::expected<Document, std::string> read_document(std::string_view text) {
  if (text.find_first_not_of(" \t\r\n") == text.npos) return refused("it is empty");
  if (text.size() > max_document)
    return refused(fmt::format("it has more than {} MiB", max_document >> 20));
  if (const std::string_view wrong = structure_error(text); !wrong.empty())
    return refused(std::string(wrong));
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) return refused("it is not JSON");
  std::string error;
  if (!json.is_object()) return refused("it is JSON, but not an object");
  const Fields document(json, "", error);
  if (!document.has("schema")) return refused("it is JSON, but has no member schema");
  const std::string schema = document.text("schema");
  Document result;
  if (schema == "slat-record/1")
    result = read_recording(document);
  else if (schema == "slat-bench/1")
    result = read_bench_result(document);
  else if (error.empty())
    error = fmt::format("its schema is '{}'; this slat reads slat-record/1 and slat-bench/1",
                        vmm::printable(schema.substr(0, 60)));
  if (!error.empty()) return refused(error);
  return result;
}

} // namespace slat::reporting
