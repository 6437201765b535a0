// Any request to the control API over a fake machine: an answer of the right form, and nothing done unless it says so.
// The first byte chooses the method, a line the target; the rest is the body.
#include "expect.hpp"
#include "fake_controlled.hpp"

#include <cstdint>
#include <nlohmann/json.hpp>

using namespace slat::vmm;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  HttpRequest request;
  request.method = HttpMethod(data[0] % 5);
  request.target = rest.substr(0, rest.find('\n'));
  if (request.target.size() < rest.size()) request.body = rest.substr(request.target.size() + 1);

  FakeControlled machine;
  machine.has_balloon = data[0] < 128;
  machine.running = data[0] % 64 >= 32;
  const FakeControlled before = machine;
  const HttpResponse response = ControlApi(machine).answer(request);

  const bool changed =
      machine.paused != before.paused || machine.running != before.running ||
      machine.shutdowns != before.shutdowns ||
      machine.fake_balloon.state().target_bytes != before.fake_balloon.state().target_bytes;
  expect(!changed || response.status == HttpStatus::no_content, "what is done is said to be done");
  expect(machine.fake_balloon.state().target_bytes <= FakeBalloon::ram, "a balloon fits the RAM");
  if (response.status == HttpStatus::no_content) {
    expect(response.body.empty(), "204 has no body");
    expect(request.method == HttpMethod::put || request.method == HttpMethod::patch ||
               request.method == HttpMethod::delete_,
           "a GET changes nothing");
    return 0;
  }
  const auto body = nlohmann::json::parse(response.body, nullptr, false);
  expect(body.is_object(), "an answer is a JSON object");
  if (response.status == HttpStatus::ok) return 0;
  expect(response.status == HttpStatus::bad_request || response.status == HttpStatus::not_found ||
             response.status == HttpStatus::method_not_allowed,
         "a refusal is 400, 404 or 405");
  expect(body.size() == 1 && body.contains("fault_message") && body["fault_message"].is_string() &&
             !body["fault_message"].get_ref<const std::string&>().empty(),
         "a refusal says why");
  const auto parsed = parse_answer(to_wire(response, false));
  expect(parsed && parsed->body == response.body && parsed->status == unsigned(response.status),
         "the client reads what was sent");
  return 0;
}
