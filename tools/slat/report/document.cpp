#include "slat/report/document.hpp"

#include "slat/json_structure.hpp"
#include "slat/report/fields.hpp"
#include "vmm/printable.hpp"

#include <fmt/format.h>
#include <string>

namespace slat::reporting {

namespace {

tl::unexpected<std::string> refused(std::string why) {
  return tl::unexpected<std::string>(std::move(why));
}

} // namespace

tl::expected<Document, std::string> read_document(std::string_view text) {
  if (text.find_first_not_of(" \t\r\n") == text.npos) return refused("it is empty");
  if (text.size() > max_document)
    return refused(fmt::format("it has more than {} MiB", max_document >> 20));
  if (const std::string_view wrong = tool::structure_error(text); !wrong.empty())
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
