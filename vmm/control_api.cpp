#include "vmm/control_api.hpp"

#include "vmm/json_fields.hpp"
#include "vmm/printable.hpp"

#include <array>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace slat::vmm {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t mebibyte = 1 << 20;
constexpr std::uint64_t page_bytes = 4096;

HttpResponse ok(const Json& body) {
  return {.status = HttpStatus::ok,
          .body = body.dump(-1, ' ', false, Json::error_handler_t::replace)};
}

HttpResponse bad(std::string_view why) {
  return fault(HttpStatus::bad_request, why);
}

/// 204, or why not.
HttpResponse done(const Result<void>& result) {
  if (result) return {.status = HttpStatus::no_content};
  const bool asked_wrongly = result.error().code == Errc::invalid_argument;
  return fault(asked_wrongly ? HttpStatus::bad_request : HttpStatus::internal_error,
               result.error().message);
}

constexpr std::string_view no_balloon = "the machine has no balloon device";

} // namespace

HttpResponse ControlApi::answer(const HttpRequest& request) {
  using Handler = HttpResponse (*)(ControlApi&, const HttpRequest&);

  struct Route {
    std::string_view target;
    HttpMethod method;
    Handler handler;
    std::string_view allow; // all methods of the target
  };

  // Each handler takes the request, for the table; those without one here want no body.
  static constexpr auto routes = std::to_array<Route>({
      {"/", HttpMethod::get, [](ControlApi& api, const HttpRequest&) { return api.describe(); },
       "GET"},
      {"/vm", HttpMethod::patch,
       [](ControlApi& api, const HttpRequest& r) { return api.change_state(r); }, "PATCH"},
      {"/machine-config", HttpMethod::get,
       [](ControlApi& api, const HttpRequest&) { return api.machine_config(); }, "GET"},
      {"/memory", HttpMethod::get, [](ControlApi& api, const HttpRequest&) { return api.memory(); },
       "GET"},
      {"/balloon", HttpMethod::get,
       [](ControlApi& api, const HttpRequest&) { return api.balloon(); }, "GET, PATCH"},
      {"/balloon", HttpMethod::patch,
       [](ControlApi& api, const HttpRequest& r) { return api.change_balloon(r); }, "GET, PATCH"},
      {"/balloon/statistics", HttpMethod::get,
       [](ControlApi& api, const HttpRequest&) { return api.balloon_statistics(); }, "GET"},
      {"/storm", HttpMethod::get, [](ControlApi& api, const HttpRequest&) { return api.storm(); },
       "GET, PUT, DELETE"},
      {"/storm", HttpMethod::put,
       [](ControlApi& api, const HttpRequest& r) { return api.start_storm(r); },
       "GET, PUT, DELETE"},
      {"/storm", HttpMethod::delete_,
       [](ControlApi& api, const HttpRequest&) { return api.end_storm(); }, "GET, PUT, DELETE"},
      {"/actions", HttpMethod::put,
       [](ControlApi& api, const HttpRequest& r) { return api.act(r); }, "PUT"},
  });
  const Route* same_target = nullptr;
  for (const Route& route : routes) {
    if (route.target != request.target) continue;
    same_target = &route;
    if (route.method != request.method) continue;
    const bool takes_body = route.method == HttpMethod::put || route.method == HttpMethod::patch;
    if (!takes_body && !request.body.empty())
      return bad(fmt::format("{} {} takes no body", to_string(route.method), route.target));
    return route.handler(*this, request);
  }
  if (same_target == nullptr)
    return fault(HttpStatus::not_found,
                 fmt::format("there is no path '{}'", printable(request.target)));
  HttpResponse response = fault(HttpStatus::method_not_allowed,
                                fmt::format("{} is not for {}: {}", to_string(request.method),
                                            same_target->target, same_target->allow));
  response.allow = same_target->allow;
  return response;
}

HttpResponse ControlApi::describe() {
  const Controlled::Instance instance = controlled_->instance();
  return ok({{"app_name", "slat"},
             {"id", instance.id},
             {"state", controlled_->is_paused() ? "Paused" : "Running"},
             {"vmm_version", instance.version}});
}

HttpResponse ControlApi::change_state(const HttpRequest& request) {
  auto fields = JsonFields::parse(request.body);
  if (!fields) return bad(fields.error());
  const auto state = fields->take_string("state");
  if (const auto good = fields->done(); !good) return bad(good.error());
  if (state == "Paused")
    controlled_->pause();
  else if (state == "Resumed")
    controlled_->resume();
  else
    return bad("member 'state' has to be \"Paused\" or \"Resumed\"");
  return {.status = HttpStatus::no_content};
}

HttpResponse ControlApi::machine_config() {
  const Controlled::Instance instance = controlled_->instance();
  return ok({{"vcpu_count", instance.vcpus},
             {"mem_size_mib", instance.memory / mebibyte},
             {"accelerator", instance.accelerator},
             {"vma_lock", instance.vma_lock}});
}

HttpResponse ControlApi::memory() {
  return {.status = HttpStatus::ok, .body = controlled_->memory_json()};
}

HttpResponse ControlApi::balloon() {
  BalloonControl* const balloon = controlled_->balloon();
  if (balloon == nullptr) return bad(no_balloon);
  const BalloonControl::State state = balloon->state();
  return ok({{"amount_mib", state.target_bytes / mebibyte},
             {"actual_mib", state.actual_bytes / mebibyte},
             {"deflate_on_oom", state.deflate_on_oom},
             {"free_page_reporting", state.free_page_reporting}});
}

HttpResponse ControlApi::change_balloon(const HttpRequest& request) {
  auto fields = JsonFields::parse(request.body);
  if (!fields) return bad(fields.error());
  const auto amount = fields->take_number("amount_mib", 0, UINT64_MAX / mebibyte);
  if (const auto good = fields->done(); !good) return bad(good.error());
  if (!amount) return bad("member 'amount_mib' is missing: the size of the balloon in MiB");
  BalloonControl* const balloon = controlled_->balloon();
  if (balloon == nullptr) return bad(no_balloon);
  return done(balloon->set_target(*amount * mebibyte));
}

HttpResponse ControlApi::balloon_statistics() {
  BalloonControl* const balloon = controlled_->balloon();
  if (balloon == nullptr) return bad(no_balloon);
  const BalloonControl::State state = balloon->state();
  Json body = {{"target_pages", state.target_bytes / page_bytes},
               {"actual_pages", state.actual_bytes / page_bytes},
               {"target_mib", state.target_bytes / mebibyte},
               {"actual_mib", state.actual_bytes / mebibyte}};
  for (const auto& [name, value] : balloon->statistics()) body[std::string(name)] = value;
  return ok(body);
}

HttpResponse ControlApi::storm() {
  const Controlled::StormState state = controlled_->storm();
  Json body = {{"running", state.running},
               {"kinds", state.kinds},
               {"rate", state.rate},
               {"pages", state.pages},
               {"ranges", state.ranges}};
  if (!state.error.empty()) body["error"] = state.error;
  return ok(body);
}

HttpResponse ControlApi::start_storm(const HttpRequest& request) {
  auto fields = JsonFields::parse(request.body);
  if (!fields) return bad(fields.error());
  Controlled::StormOrder order;
  const auto kinds = fields->take_string("kinds");
  order.rate = fields->take_number("rate", 1, Controlled::max_storm_rate).value_or(order.rate);
  order.pages = fields->take_number("pages", 1, Controlled::max_storm_pages).value_or(order.pages);
  if (const auto good = fields->done(); !good) return bad(good.error());
  if (!kinds) return bad("member 'kinds' is missing, such as \"zap,reclaim\" or \"all\"");
  order.kinds = *kinds;
  return done(controlled_->start_storm(order));
}

HttpResponse ControlApi::end_storm() {
  return done(controlled_->end_storm());
}

HttpResponse ControlApi::act(const HttpRequest& request) {
  auto fields = JsonFields::parse(request.body);
  if (!fields) return bad(fields.error());
  const auto action = fields->take_string("action_type");
  if (const auto good = fields->done(); !good) return bad(good.error());
  if (action != "Shutdown") return bad("member 'action_type' has to be \"Shutdown\"");
  controlled_->shut_down();
  return {.status = HttpStatus::no_content};
}

} // namespace slat::vmm
