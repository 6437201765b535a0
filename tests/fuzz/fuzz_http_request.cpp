// Any bytes as HTTP requests: however they are cut into pieces the same ones come out, or the same refusal; and never more
// than the limits allow.
#include "expect.hpp"
#include "vmm/http_request.hpp"

#include <algorithm>
#include <cstdint>
#include <vector>

using namespace slat::vmm;

namespace {

struct Outcome {
  std::vector<HttpRequest> requests;
  HttpParser::State state = HttpParser::State::incomplete;
  HttpStatus status = HttpStatus::ok;
  std::string_view reason;
  std::size_t used = 0;
  unsigned continues = 0;
};

/// `cuts`: a byte for the size of each piece in turn; empty: all at once.
Outcome parse(std::string_view bytes, std::string_view cuts) {
  Outcome outcome;
  HttpParser parser;
  std::size_t cut = 0;
  while (outcome.used < bytes.size() && parser.state() == HttpParser::State::incomplete) {
    std::size_t size = bytes.size() - outcome.used;
    if (!cuts.empty())
      size = std::min<std::size_t>(size,
                                   1 + static_cast<unsigned char>(cuts[cut++ % cuts.size()]) % 32);
    const std::size_t used = parser.feed(bytes.substr(outcome.used, size));
    expect(used <= size, "no more is taken than was given");
    expect(used == size || parser.state() != HttpParser::State::incomplete,
           "all is taken until the end");
    outcome.used += used;
    if (parser.take_continue()) ++outcome.continues;
    if (parser.state() == HttpParser::State::complete) outcome.requests.push_back(parser.take());
  }
  outcome.state = parser.state();
  outcome.status = parser.status();
  outcome.reason = parser.reason();
  return outcome;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const std::size_t cut_count = std::min<std::size_t>(data[0] % 8, size - 1); // then the cuts
  const std::string_view bytes = all.substr(1 + cut_count);
  const Outcome whole = parse(bytes, {});
  const Outcome cut =
      parse(bytes, cut_count == 0 ? std::string_view("\0", 1) : all.substr(1, cut_count));
  expect(whole.requests.size() == cut.requests.size() && whole.state == cut.state &&
             whole.status == cut.status && whole.reason == cut.reason && whole.used == cut.used,
         "how the bytes are cut makes no difference");
  expect(whole.continues <= cut.continues, "who waits is told to go on");
  for (std::size_t i = 0; i < whole.requests.size(); ++i) {
    const HttpRequest& request = whole.requests[i];
    expect(request.method == cut.requests[i].method && request.target == cut.requests[i].target &&
               request.body == cut.requests[i].body &&
               request.keep_alive == cut.requests[i].keep_alive,
           "nor does it to a request");
    expect(request.target.starts_with('/') &&
               request.target.size() < HttpParser::max_request_line &&
               std::ranges::all_of(request.target, [](char c) { return c > 0x20 && c < 0x7f; }),
           "a target is a path in plain ASCII, within the limit");
    expect(request.body.size() <= HttpParser::max_body, "a body is within the limit");
  }
  if (whole.state == HttpParser::State::failed)
    expect(unsigned(whole.status) >= 400 && !whole.reason.empty(), "a refusal says why");
  return 0;
}
