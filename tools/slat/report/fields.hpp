// Fields: the members of a JSON object, looked at without exceptions. The first that is missing or wrong is kept; what is
// read after that does not matter.
#pragma once

#include "slat/report/bench_result.hpp"
#include "slat/report/recording.hpp"

#include <cstddef>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace slat::reporting {

using Json = nlohmann::ordered_json;

class Fields {
 public:
  static constexpr double largest = 1.8e19; // above what 64 bits hold

  /// `error` is empty at first, and outlives it.
  Fields(const Json& object, std::string path, std::string& error);

  [[nodiscard]] bool has(std::string_view name) const { return find(name) != nullptr; }

  /// It is there, and null.
  [[nodiscard]] bool is_null(std::string_view name) const;

  [[nodiscard]] Fields object(std::string_view name) const;
  /// The objects of an array, `most` at most.
  [[nodiscard]] std::vector<Fields> objects(std::string_view name, std::size_t most) const;
  /// A number from `least` to `most`.
  [[nodiscard]] double number(std::string_view name, double least = 0, double most = largest) const;
  [[nodiscard]] bool flag(std::string_view name) const;
  [[nodiscard]] std::string text(std::string_view name) const;
  /// Numbers from 0 up, `most` at most.
  [[nodiscard]] std::vector<double> numbers(std::string_view name, std::size_t most) const;
  /// The same for each element.
  [[nodiscard]] std::vector<std::vector<double>> rows(std::string_view name, std::size_t most,
                                                      std::size_t most_in_row) const;
  [[nodiscard]] std::vector<std::string> texts(std::string_view name, std::size_t most) const;
  /// All members of an object as text; those of objects in it as "outer.inner".
  [[nodiscard]] Pairs pairs(std::string_view name) const;
  [[nodiscard]] const Json* array(std::string_view name, std::size_t most) const;

  /// Keeps it, unless there is one.
  void wrong(std::string_view name, std::string_view what) const;

  [[nodiscard]] const Json& json() const { return *object_; }

  [[nodiscard]] bool ok() const { return error_->empty(); }

 private:
  [[nodiscard]] const Json* find(std::string_view name) const;
  [[nodiscard]] std::vector<double> numbers_of(std::string_view name, const Json& list,
                                               std::size_t most) const;

  const Json* object_;
  std::string path_;
  std::string* error_;
};

/// Each is above the one before.
[[nodiscard]] bool ascends(const std::vector<double>& values);

// The two kinds of documents: see read_document().
[[nodiscard]] Recording read_recording(const Fields& document);
[[nodiscard]] BenchResult read_bench_result(const Fields& document);

} // namespace slat::reporting
