// slat ctl: asks a running slat, by its control socket.
#include "slat/commands.hpp"
#include "slat/ctl_client.hpp"
#include "slat/exit_codes.hpp"
#include "slat/machine_options.hpp"
#include "slat/stats.hpp"
#include "slat/storm_option.hpp"
#include "vmm/control_api.hpp"
#include "vmm/layout.hpp"
#include "vmm/printable.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

namespace slat::tool {

namespace {

using Json = nlohmann::ordered_json;
using vmm::HttpMethod;

struct CtlOptions {
  std::string socket;
  bool json = false;
  unsigned timeout = 10; // seconds
  std::string balloon;
  std::string storm;
  std::uint64_t rate = 0;  // 0: not given
  std::uint64_t pages = 0; // the same
};

std::string text_of(const Json& value) {
  // What another process says goes to a terminal: made safe.
  return vmm::printable(value.is_string()
                            ? value.get<std::string>()
                            : value.dump(-1, ' ', false, Json::error_handler_t::replace));
}

/// Sends each of the requests, and prints all that the answers tell, as one object. Where they tell nothing it prints `done`.
int talk(const CtlOptions& options, const std::vector<CtlRequest>& requests,
         std::string_view done = {}) {
  Json all = Json::object();
  for (const CtlRequest& request : requests) {
    const auto answer = ask(options.socket, request, std::chrono::seconds(options.timeout));
    if (!answer) return report(answer.error());
    const Json body = Json::parse(answer->body, nullptr, false);
    if (answer->status >= 400) {
      const bool said = body.is_object() && body.contains("fault_message");
      fmt::print(stderr, "slat: the machine refused: {}\n",
                 said ? text_of(body["fault_message"]) : fmt::format("status {}", answer->status));
      return exit_refused;
    }
    if (answer->status == 204) continue;
    if (!body.is_object())
      return report({vmm::Errc::host_unavailable, 0,
                     fmt::format("'{}' is not the control socket of a slat: its answer is no JSON "
                                 "object",
                                 vmm::printable(options.socket))});
    all.update(body);
  }
  if (options.json)
    fmt::print("{}\n", all.dump(-1, ' ', false, Json::error_handler_t::replace));
  else if (!all.empty())
    for (const auto& [name, value] : all.items()) {
      if (!value.is_object()) {
        fmt::print("{:<30} {}\n", vmm::printable(name), text_of(value));
        continue;
      }
      for (const auto& [part, inner] : value.items())
        fmt::print("{:<30} {}\n", vmm::printable(name + "." + part), text_of(inner));
    }
  else
    fmt::print("{}\n", done);
  return exit_success;
}

int balloon(const CtlOptions& options) {
  if (options.balloon.empty()) return talk(options, {{.target = "/balloon"}});
  constexpr std::uint64_t mebibyte = 1 << 20;
  const auto bytes = vmm::parse_size(options.balloon);
  if (!bytes || *bytes % mebibyte != 0)
    return report({vmm::Errc::invalid_argument, 0,
                   fmt::format("balloon {}: give a size in whole MiB, such as 64M or 1G",
                               vmm::printable(options.balloon))});
  const Json body = {{"amount_mib", *bytes / mebibyte}};
  return talk(options, {{.method = HttpMethod::patch, .target = "/balloon", .body = body.dump()}},
              "the balloon's target is set; the guest takes its time");
}

int storm(const CtlOptions& options) {
  if (options.storm.empty()) return talk(options, {{.target = "/storm"}});
  if (options.storm == "off")
    return talk(options, {{.method = HttpMethod::delete_, .target = "/storm"}},
                "the storm has ended");
  Json body = {{"kinds", options.storm}};
  if (options.rate != 0) body["rate"] = options.rate;
  if (options.pages != 0) body["pages"] = options.pages;
  return talk(options,
              {{.method = HttpMethod::put,
                .target = "/storm",
                .body = body.dump(-1, ' ', false, Json::error_handler_t::replace)}},
              "the storm has begun");
}

int change_state(const CtlOptions& options, std::string_view state, std::string_view done) {
  const Json body = {{"state", state}};
  return talk(options, {{.method = HttpMethod::patch, .target = "/vm", .body = body.dump()}}, done);
}

int shut_down(const CtlOptions& options) {
  const Json body = {{"action_type", "Shutdown"}};
  return talk(options, {{.method = HttpMethod::put, .target = "/actions", .body = body.dump()}},
              "the machine ends");
}

} // namespace

void add_ctl(CLI::App& program, Command& run) {
  auto options = std::make_shared<CtlOptions>();
  CLI::App* const ctl = program.add_subcommand(
      "ctl", "Ask a running slat boot or slat stress, by its --api-socket, for its state, or to "
             "do something");
  ctl->add_option("--api-socket", options->socket, "Its control socket")
      ->required()
      ->type_name("PATH");
  ctl->add_flag("--json", options->json, "Print the answer as one line of JSON");
  ctl->add_option("--timeout", options->timeout, "Seconds to wait for an answer")
      ->capture_default_str()
      ->check(CLI::Range(1, 86'400));
  ctl->require_subcommand(1);
  ctl->footer(exit_code_help);
  const auto add = [&](const char* name, const char* what, int (*act)(const CtlOptions&)) {
    CLI::App* const command = ctl->add_subcommand(name, what);
    command->fallthrough(); // --json may come behind it
    command->callback([options, act, &run] { run = [options, act] { return act(*options); }; });
    return command;
  };
  add("status", "Running or paused, and what machine it is", [](const CtlOptions& o) {
    return talk(o, {{.target = "/"}, {.target = "/machine-config"}});
  });
  add("memory", "The statistics, as --stats has them at the end",
      [](const CtlOptions& o) { return talk(o, {{.target = "/memory"}}); });
  add("balloon", "Show the balloon, or set its size", balloon)
      ->add_option("SIZE", options->balloon, "What the guest is to give up, such as 64M")
      ->type_name("");
  add("balloon-stats", "What the guest tells of its memory",
      [](const CtlOptions& o) { return talk(o, {{.target = "/balloon/statistics"}}); });
  add("pause", "Keep all vCPUs out of the guest; returns when they are out",
      [](const CtlOptions& o) { return change_state(o, "Paused", "paused"); });
  add("resume", "Let them in again",
      [](const CtlOptions& o) { return change_state(o, "Resumed", "running"); });
  CLI::App* const command =
      add("storm", "Show the storm, start one, or end the one that runs", storm);
  CLI::Option* const kinds =
      command->add_option("KINDS", options->storm, "What to start, as for --storm; or off")
          ->type_name("")
          ->check(storm_order_values());
  command->add_option("--rate", options->rate, "Ranges a second; default 1000")
      ->needs(kinds)
      ->check(CLI::Range(std::uint64_t(1), vmm::Controlled::max_storm_rate));
  command->add_option("--pages", options->pages, "Pages of the largest range; default 512")
      ->needs(kinds)
      ->check(CLI::Range(std::uint64_t(1), vmm::Controlled::max_storm_pages));
  add("shutdown", "End the machine, as Ctrl-C does but with exit code 0", shut_down);
}

} // namespace slat::tool
