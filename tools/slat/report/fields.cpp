#include "slat/report/fields.hpp"

#include "vmm/printable.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace slat::reporting {

namespace {

constexpr std::size_t most_pairs = 1000;
constexpr std::size_t longest_text = 4096;

std::string as_text(const Json& value) {
  std::string text;
  if (value.is_string())
    text = value.get_ref<const std::string&>();
  else if (value.is_structured())
    text = value.is_array() ? "[...]" : "{...}";
  else
    text = value.dump();
  if (text.size() > longest_text) text = text.substr(0, longest_text) + "...";
  return text;
}

} // namespace

Fields::Fields(const Json& object, std::string path, std::string& error)
    : object_(&object), path_(std::move(path)), error_(&error) {}

void Fields::wrong(std::string_view name, std::string_view what) const {
  if (error_->empty()) *error_ = fmt::format("member {}{} {}", path_, vmm::printable(name), what);
}

const Json* Fields::find(std::string_view name) const {
  if (!object_->is_object()) return nullptr;
  const auto found = object_->find(std::string(name));
  return found == object_->end() ? nullptr : &*found;
}

bool Fields::is_null(std::string_view name) const {
  const Json* const value = find(name);
  return value != nullptr && value->is_null();
}

Fields Fields::object(std::string_view name) const {
  static const Json nothing = Json::object();
  const Json* const value = find(name);
  const bool good = value != nullptr && value->is_object();
  if (!good) wrong(name, value == nullptr ? "is missing" : "is not an object");
  return {good ? *value : nothing, path_ + std::string(name) + ".", *error_};
}

const Json* Fields::array(std::string_view name, std::size_t most) const {
  static const Json nothing = Json::array();
  const Json* const value = find(name);
  if (value == nullptr || !value->is_array()) {
    wrong(name, value == nullptr ? "is missing" : "is not an array");
    return &nothing;
  }
  if (value->size() > most) {
    wrong(name, fmt::format("has more than {} elements", most));
    return &nothing;
  }
  return value;
}

std::vector<Fields> Fields::objects(std::string_view name, std::size_t most) const {
  std::vector<Fields> list;
  for (const Json& element : *array(name, most)) {
    if (!element.is_object()) wrong(name, "has an element that is not an object");
    list.emplace_back(element, fmt::format("{}{}[{}].", path_, name, list.size()), *error_);
  }
  return list;
}

double Fields::number(std::string_view name, double least, double most) const {
  const Json* const value = find(name);
  if (value == nullptr || !value->is_number()) {
    wrong(name, value == nullptr ? "is missing" : "is not a number");
    return std::max(least, 0.0);
  }
  const double number = value->get<double>();
  if (number >= least && number <= most) return number;
  wrong(name, "is out of range");
  return std::max(least, 0.0);
}

bool Fields::flag(std::string_view name) const {
  const Json* const value = find(name);
  if (value != nullptr && value->is_boolean()) return value->get<bool>();
  wrong(name, value == nullptr ? "is missing" : "is neither true nor false");
  return false;
}

std::string Fields::text(std::string_view name) const {
  const Json* const value = find(name);
  if (value != nullptr && value->is_string()) return as_text(*value);
  wrong(name, value == nullptr ? "is missing" : "is not a string");
  return {};
}

std::vector<double> Fields::numbers_of(std::string_view name, const Json& list,
                                       std::size_t most) const {
  std::vector<double> values;
  if (!list.is_array() || list.size() > most) {
    wrong(name, list.is_array() ? fmt::format("has more than {} elements", most)
                                : "is not an array of numbers");
    return values;
  }
  values.reserve(list.size());
  for (const Json& element : list) {
    const double value = element.is_number() ? element.get<double>() : -1;
    if (!(value >= 0 && value <= largest))
      wrong(name, "has an element that is no number from 0 up");
    values.push_back(value);
  }
  return values;
}

std::vector<double> Fields::numbers(std::string_view name, std::size_t most) const {
  return numbers_of(name, *array(name, most), most);
}

std::vector<std::vector<double>> Fields::rows(std::string_view name, std::size_t most,
                                              std::size_t most_in_row) const {
  std::vector<std::vector<double>> rows;
  for (const Json& row : *array(name, most)) rows.push_back(numbers_of(name, row, most_in_row));
  return rows;
}

std::vector<std::string> Fields::texts(std::string_view name, std::size_t most) const {
  std::vector<std::string> list;
  for (const Json& element : *array(name, most)) {
    if (!element.is_string()) wrong(name, "has an element that is not a string");
    list.push_back(as_text(element));
  }
  return list;
}

Pairs Fields::pairs(std::string_view name) const {
  Pairs pairs;
  const Json* const value = find(name);
  if (value == nullptr || !value->is_object()) {
    wrong(name, value == nullptr ? "is missing" : "is not an object");
    return pairs;
  }
  for (const auto& [key, member] : value->items()) {
    if (member.is_object()) {
      for (const auto& [inner, part] : member.items())
        pairs.emplace_back(key + "." + inner, as_text(part));
    } else {
      pairs.emplace_back(key, as_text(member));
    }
    if (pairs.size() > most_pairs) {
      wrong(name, fmt::format("has more than {} members", most_pairs));
      return {};
    }
  }
  return pairs;
}

bool ascends(const std::vector<double>& values) {
  return std::ranges::adjacent_find(values, std::greater_equal<>()) == values.end();
}

} // namespace slat::reporting
