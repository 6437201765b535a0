#include "slat/storm_option.hpp"

#include "vmm/printable.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <string_view>

namespace slat::tool {

namespace {

/// Calls `function(word)` for each of "a,b,c"; ends early with what it returns, if that is not empty.
template <class Function> std::string each_word(std::string_view words, Function function) {
  while (!words.empty()) {
    const std::string_view word = words.substr(0, words.find(','));
    words.remove_prefix(std::min(words.size(), word.size() + 1));
    if (std::string wrong = function(word); !wrong.empty()) return wrong;
  }
  return {};
}

std::string known_kinds(std::string_view between) {
  std::string list;
  for (std::size_t i = 0; i < vmm::storm_kinds; ++i)
    list += fmt::format("{}{}", vmm::name(vmm::StormKind(i)), between);
  return list + "all";
}

std::string no_such_kind(std::string_view word) {
  return fmt::format("no storm '{}'; there are {}", vmm::printable(word), known_kinds(", "));
}

} // namespace

CLI::Option* add_storm_option(CLI::App& command, std::string& kinds) {
  return command
      .add_option(
          "--storm", kinds,
          "What the host does to the guest's memory meanwhile, one or more with commas; dirty, "
          "split and collapse take --accel soft")
      ->type_name("KINDS")
      ->check(CLI::Validator(
          [](std::string& words) {
            return each_word(words, [](std::string_view word) {
              return word == "all" || vmm::storm_kind(word) ? std::string() : no_such_kind(word);
            });
          },
          "{" + known_kinds(",") + "}", "storm"));
}

CLI::Validator storm_order_values() {
  return {[](std::string&) { return std::string(); }, "{off," + known_kinds(",") + "}"};
}

void add_storm_options(CLI::App& command, std::string& kinds, vmm::StormOptions& options) {
  CLI::Option* const storm = add_storm_option(command, kinds);
  command.add_option("--storm-rate", options.rate, "Ranges a second")
      ->needs(storm)
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000));
  command.add_option("--storm-pages", options.max_pages, "Pages of the largest range")
      ->needs(storm)
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 24));
}

std::uint64_t storm_slot_bytes(const std::string& kinds, std::uint64_t memory) {
  constexpr std::uint64_t align = 2 << 20;
  const bool several =
      asks_for(kinds, vmm::StormKind::slots) || asks_for(kinds, vmm::StormKind::move);
  return several ? (memory / 8 + align - 1) / align * align : 0;
}

std::uint64_t storm_spare_bytes(const std::string& kinds) {
  return asks_for(kinds, vmm::StormKind::migrate) ? 4 << 20 : 0;
}

vmm::Result<std::vector<vmm::StormKind>> parse_storm(const std::string& kinds,
                                                     const StormMeans& means) {
  std::vector<vmm::StormKind> result;
  const std::string wrong = each_word(kinds, [&](std::string_view word) {
    if (word == "all") {
      for (std::size_t i = 0; i < vmm::storm_kinds; ++i)
        if ((means.soft || !needs_soft_memory(vmm::StormKind(i))) &&
            (means.given_up_pages || !needs_given_up_pages(vmm::StormKind(i))) &&
            !(means.kvm_writes && vmm::StormKind(i) == vmm::StormKind::readonly))
          result.push_back(vmm::StormKind(i));
      return std::string();
    }
    if (!vmm::storm_kind(word)) return no_such_kind(word); // over the control socket
    const vmm::StormKind kind = *vmm::storm_kind(word);
    if (needs_given_up_pages(kind) && !means.given_up_pages)
      return fmt::format("--storm {}: only slat stress has a guest that gives pages up", word);
    if (kind == vmm::StormKind::readonly && means.kvm_writes)
      return fmt::format("--storm {}: KVM itself writes into the memory of a Linux guest", word);
    if (needs_soft_memory(kind) && !means.soft)
      return fmt::format("--storm {}: the stage-2 tables are the kernel's here; use --accel soft",
                         word);
    result.push_back(kind);
    return std::string();
  });
  if (!wrong.empty()) return vmm::fail(vmm::Errc::invalid_argument, 0, wrong);
  if (result.empty()) return vmm::fail(vmm::Errc::invalid_argument, 0, "--storm: no kind is named");
  return result;
}

bool asks_for(const std::string& kinds, vmm::StormKind kind) {
  bool asked = false;
  (void)each_word(kinds, [&](std::string_view word) {
    asked = asked || word == "all" || word == vmm::name(kind);
    return std::string();
  });
  return asked;
}

} // namespace slat::tool
