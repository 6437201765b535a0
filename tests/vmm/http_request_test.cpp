// Requests as they come over a socket: taken, or refused with the right status; cut anywhere, the same.
#include "vmm/http_request.hpp"

#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace slat::vmm {
namespace {

using State = HttpParser::State;

HttpParser parsed(const std::string& bytes) {
  HttpParser parser;
  (void)parser.feed(bytes);
  return parser;
}

HttpRequest request_of(const std::string& bytes) {
  HttpParser parser = parsed(bytes);
  EXPECT_EQ(parser.state(), State::complete) << bytes << ": " << parser.reason();
  return parser.take();
}

unsigned refusal_of(const std::string& bytes) {
  const HttpParser parser = parsed(bytes);
  EXPECT_EQ(parser.state(), State::failed) << bytes;
  EXPECT_FALSE(parser.reason().empty()) << bytes;
  return unsigned(parser.status());
}

TEST(HttpParser, TakesARequestWithoutABody) {
  const HttpRequest request = request_of("GET /balloon/statistics HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(request.method, HttpMethod::get);
  EXPECT_EQ(request.target, "/balloon/statistics");
  EXPECT_EQ(request.body, "");
  EXPECT_TRUE(request.keep_alive);
}

TEST(HttpParser, TakesABodyOfExactlyTheGivenLength) {
  HttpParser parser;
  const std::string bytes =
      "PATCH /vm HTTP/1.1\r\ncontent-LENGTH:\t 4 \r\n\r\n{}\r\nGET / HTTP/1.1";
  EXPECT_EQ(bytes.substr(parser.feed(bytes)), "GET / HTTP/1.1");
  ASSERT_EQ(parser.state(), State::complete);
  const HttpRequest request = parser.take();
  EXPECT_EQ(request.method, HttpMethod::patch);
  EXPECT_EQ(request.body, "{}\r\n");
  EXPECT_EQ(parser.state(), State::incomplete) << "ready for the next one";
  EXPECT_FALSE(parser.has_begun());
}

TEST(HttpParser, KnowsWhetherAnotherRequestMayFollow) {
  EXPECT_TRUE(request_of("GET / HTTP/1.1\r\n\r\n").keep_alive);
  EXPECT_FALSE(request_of("GET / HTTP/1.1\r\nConnection: Close\r\n\r\n").keep_alive);
  EXPECT_FALSE(request_of("GET / HTTP/1.1\r\nConnection: foo, close,,\r\n\r\n").keep_alive);
  EXPECT_FALSE(request_of("GET / HTTP/1.0\r\n\r\n").keep_alive);
  EXPECT_TRUE(request_of("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").keep_alive);
  EXPECT_FALSE(request_of("GET / HTTP/1.0\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n")
                   .keep_alive);
}

TEST(HttpParser, TakesWhatTheStandardAllowsBesides) {
  EXPECT_EQ(request_of("\r\nGET / HTTP/1.1\r\n\r\n").target, "/") << "one empty line before";
  EXPECT_EQ(request_of("GET http://localhost/vm HTTP/1.1\r\n\r\n").target, "/vm");
  EXPECT_EQ(request_of("DELETE /storm HTTP/1.1\r\nContent-Length: 0\r\n\r\n").method,
            HttpMethod::delete_);
  EXPECT_EQ(request_of("PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 01\r\n\r\nx").body,
            "x");
  EXPECT_EQ(request_of("GET / HTTP/1.1\r\nX: caf\xc3\xa9\r\n\r\n").target, "/");
}

TEST(HttpParser, AsksForTheBodyOnceIfTheClientWaitsForThat) {
  HttpParser parser = parsed("PUT / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n");
  EXPECT_FALSE(parser.take_continue());
  (void)parser.feed("\r\n");
  EXPECT_TRUE(parser.take_continue());
  EXPECT_FALSE(parser.take_continue());
  (void)parser.feed("{}");
  EXPECT_EQ(parser.take().body, "{}");
  EXPECT_FALSE(parsed("GET / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n").take_continue())
      << "there is no body to wait for";
}

TEST(HttpParser, RefusesWhatIsMalformed) {
  for (const char* bytes : {"\r\n\r\n",
                            "GET\r\n",
                            "GET /\r\n",
                            "GET / \r\n",
                            "GET  / HTTP/1.1\r\n",
                            "/ HTTP/1.1\r\n",
                            "GET / HTTP/1.1 \r\n",
                            "GET /a b HTTP/1.1\r\n",
                            "GET\t/ HTTP/1.1\r\n",
                            "G(T / HTTP/1.1\r\n",
                            "GET / HTTP/1\r\n",
                            "GET / http/1.1\r\n",
                            "GET / FTP/1.1\r\n",
                            "GET vm HTTP/1.1\r\n",
                            "GET http://localhost HTTP/1.1\r\n",
                            "GET * HTTP/1.1\r\n",
                            "GET /#x HTTP/1.1\r\n",
                            "GET /\xc3\xa9 HTTP/1.1\r\n",
                            "GET / HTTP/1.1\n",
                            "GET / HTTP/1.1\r\r\n",
                            "GET /\x01",
                            "GET / HTTP/1.1\r\nHost\r\n",
                            "GET / HTTP/1.1\r\n: x\r\n",
                            "GET / HTTP/1.1\r\nHost : x\r\n",
                            "GET / HTTP/1.1\r\nA: b\r\n folded\r\n",
                            "GET / HTTP/1.1\r\nA: \x7f",
                            "GET / HTTP/1.1\r\nContent-Length: \r\n",
                            "GET / HTTP/1.1\r\nContent-Length: -1\r\n",
                            "GET / HTTP/1.1\r\nContent-Length: 1, 1\r\n",
                            "GET / HTTP/1.1\r\nContent-Length: 0x1\r\n",
                            "PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n"})
    EXPECT_EQ(refusal_of(bytes), 400u) << bytes;
}

TEST(HttpParser, RefusesWithTheStatusThatSaysWhy) {
  EXPECT_EQ(refusal_of("PUT / HTTP/1.1\r\n\r\n"), 411u);
  EXPECT_EQ(refusal_of("PUT / HTTP/1.1\r\nContent-Length: 51201\r\n\r\n"), 413u);
  EXPECT_EQ(refusal_of("PUT / HTTP/1.1\r\nContent-Length: 18446744073709551617\r\n\r\n"), 413u);
  EXPECT_EQ(refusal_of("PUT / HTTP/1.1\r\nExpect: tea\r\nContent-Length: 1\r\n\r\n"), 417u);
  EXPECT_EQ(refusal_of("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), 501u);
  EXPECT_EQ(refusal_of("PUT / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            501u);
  EXPECT_EQ(refusal_of("BREW / HTTP/1.1\r\n"), 501u);
  EXPECT_EQ(refusal_of("GET / HTTP/2.0\r\n"), 505u);
  EXPECT_EQ(refusal_of("GET / HTTP/0.9\r\n"), 505u);
}

TEST(HttpParser, TakesWhatIsJustWithinEachLimitAndRefusesOneMore) {
  const auto line_of = [](std::size_t size) {
    const std::string rest = "GET / HTTP/1.1\r\n";
    return "GET /" + std::string(size - rest.size(), 'a') + " HTTP/1.1\r\n";
  };
  (void)request_of(line_of(HttpParser::max_request_line) + "\r\n");
  EXPECT_EQ(refusal_of(line_of(HttpParser::max_request_line + 1)), 414u);
  EXPECT_EQ(refusal_of(std::string(HttpParser::max_request_line, 'G')), 414u) << "without its end";

  const auto headers_of = [](std::size_t size) { // the last empty line included
    return "GET / HTTP/1.1\r\nA: " + std::string(size - 7, 'b') + "\r\n\r\n";
  };
  (void)request_of(headers_of(HttpParser::max_headers));
  EXPECT_EQ(refusal_of(headers_of(HttpParser::max_headers + 1)), 431u);

  std::string many = "GET / HTTP/1.1\r\n";
  for (std::size_t i = 0; i < HttpParser::max_header_count; ++i) many += "A: b\r\n";
  (void)request_of(many + "\r\n");
  EXPECT_EQ(refusal_of(many + "A: b\r\n"), 431u);

  const std::string body(HttpParser::max_body, 'x');
  EXPECT_EQ(request_of("PUT / HTTP/1.1\r\nContent-Length: 51200\r\n\r\n" + body).body, body);
}

TEST(HttpParser, DoesNotCareHowTheBytesAreCut) {
  for (const std::string bytes :
       {"\r\nPUT /actions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{\"a\"}more",
        "GET / HTTP/1.1\r\nHost x\r\n\r\n", "PUT / HTTP/1.1\r\nContent-Length: 99999\r\n\r\nabc",
        "GET / HTTP/1.1\rX\r\n"}) {
    HttpParser whole;
    const std::size_t used = whole.feed(bytes);
    for (std::size_t piece = 1; piece < bytes.size(); ++piece) {
      HttpParser parser;
      std::size_t total = 0;
      for (std::size_t at = 0; at < bytes.size(); at += piece)
        total += parser.feed(std::string_view(bytes).substr(at, piece));
      ASSERT_EQ(parser.state(), whole.state()) << bytes << " by " << piece;
      EXPECT_EQ(parser.status(), whole.status());
      EXPECT_EQ(parser.reason(), whole.reason());
      EXPECT_EQ(total, used) << bytes << " by " << piece;
      if (parser.state() == State::complete) {
        EXPECT_EQ(parser.take().body, "{\"a\"}");
      }
    }
  }
}

TEST(HttpParser, TakesNothingAfterItsEnd) {
  HttpParser failed = parsed("GET / HTTP/2.0\r\n");
  EXPECT_EQ(failed.feed("GET / HTTP/1.1\r\n\r\n"), 0u);
  HttpParser complete = parsed("GET / HTTP/1.1\r\n\r\n");
  EXPECT_EQ(complete.feed("GET / HTTP/1.1\r\n\r\n"), 0u);
}

} // namespace
} // namespace slat::vmm
