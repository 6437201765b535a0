#include "vmm/json_fields.hpp"

#include "vmm/printable.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace slat::vmm {

/// What nlohmann's parser calls; false ends it.
class JsonFields::Reader {
 public:
  explicit Reader(std::vector<Member>& members) : members_(&members) {}

  bool null() { return value(nullptr); }

  bool boolean(bool) { return value(nullptr); }

  bool number_integer(std::int64_t) { return value(nullptr); } // a negative one

  bool number_unsigned(std::uint64_t number) { return value(number); }

  bool number_float(double, const std::string&) { return value(nullptr); }

  bool string(std::string& text) { return value(std::move(text)); }

  bool binary(nlohmann::json::binary_t&) { return value(nullptr); }

  bool start_object(std::size_t) {
    if (inside_) return fail("an object within the object");
    return inside_ = true;
  }

  bool end_object() { return true; }

  bool start_array(std::size_t) { return fail("an array, where an object was expected"); }

  bool end_array() { return true; }

  bool key(std::string& name) {
    if (std::ranges::find(members_->begin(), members_->end(), name, &Member::name) !=
        members_->end())
      return fail(fmt::format("member '{}' comes twice", printable(name)));
    members_->push_back({std::move(name), nullptr});
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) {
    return fail(fmt::format("not JSON: an error at byte {}", position));
  }

  [[nodiscard]] const std::string& error() const { return error_; }

 private:
  template <class T> bool value(T&& value) {
    if (!inside_) return fail("not an object");
    members_->back().value = std::forward<T>(value);
    return true;
  }

  bool fail(std::string why) {
    error_ = "the body is " + why;
    return false;
  }

  std::vector<Member>* members_;
  bool inside_ = false;
  std::string error_;
};

tl::expected<JsonFields, std::string> JsonFields::parse(std::string_view text) {
  JsonFields fields;
  Reader reader(fields.members_);
  if (!nlohmann::json::sax_parse(text, &reader)) return tl::unexpected(reader.error());
  return fields;
}

std::optional<JsonFields::Value> JsonFields::take(std::string_view name) {
  const auto found = std::ranges::find(members_, name, &Member::name);
  if (found == members_.end()) return std::nullopt;
  Value value = std::move(found->value);
  members_.erase(found);
  return value;
}

void JsonFields::wrong(std::string what) {
  if (wrong_.empty()) wrong_ = std::move(what);
}

std::optional<std::string> JsonFields::take_string(std::string_view name) {
  auto value = take(name);
  if (!value) return std::nullopt;
  if (auto* const text = std::get_if<std::string>(&*value)) return std::move(*text);
  wrong(fmt::format("member '{}' is not a string", name));
  return std::nullopt;
}

std::optional<std::uint64_t> JsonFields::take_number(std::string_view name, std::uint64_t least,
                                                     std::uint64_t most) {
  const auto value = take(name);
  if (!value) return std::nullopt;
  const auto* const number = std::get_if<std::uint64_t>(&*value);
  if (number != nullptr && *number >= least && *number <= most) return *number;
  wrong(fmt::format("member '{}' is not a whole number from {} to {}", name, least, most));
  return std::nullopt;
}

tl::expected<void, std::string> JsonFields::done() const {
  if (!wrong_.empty()) return tl::unexpected(wrong_);
  if (!members_.empty())
    return tl::unexpected(
        fmt::format("there is no member '{}' here", printable(members_.front().name)));
  return {};
}

} // namespace slat::vmm
