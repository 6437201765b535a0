// JsonFields: the members of a JSON object without nested ones, which is what the control API's requests are. Read without
// exceptions and without recursion; anything else is refused, and so is a member that comes twice.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <variant>
#include <vector>

namespace slat::vmm {

class JsonFields {
 public:
  /// Errors: what is wrong with the text, in one line.
  static tl::expected<JsonFields, std::string> parse(std::string_view text);

  /// Takes the member `name` out, empty if there is none. A wrong type or value is kept for done().
  [[nodiscard]] std::optional<std::string> take_string(std::string_view name);
  [[nodiscard]] std::optional<std::uint64_t> take_number(std::string_view name, std::uint64_t least,
                                                         std::uint64_t most);

  /// Whether every member had its right type, and has been taken. Errors: the first that is wrong, in one line.
  [[nodiscard]] tl::expected<void, std::string> done() const;

 private:
  using Value = std::variant<std::uint64_t, std::string, std::nullptr_t>; // nullptr: anything else

  struct Member {
    std::string name;
    Value value;
  };

  class Reader;

  [[nodiscard]] std::optional<Value> take(std::string_view name);
  void wrong(std::string what);

  std::vector<Member> members_;
  std::string wrong_; // the first
};

} // namespace slat::vmm
