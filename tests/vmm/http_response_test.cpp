// Answers: what is sent is what the client reads.
#include "vmm/http_response.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slat::vmm {
namespace {

using testing::HasSubstr;

TEST(HttpResponse, IsReadAsItWasSent) {
  const std::string wire = to_wire({.status = HttpStatus::ok, .body = "{\"a\":1}"}, false);
  EXPECT_THAT(wire, testing::StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(wire, HasSubstr("Content-Length: 7\r\n"));
  EXPECT_THAT(wire, HasSubstr("Connection: close\r\n"));
  const auto answer = parse_answer(wire);
  ASSERT_TRUE(answer) << answer.error();
  EXPECT_EQ(answer->status, 200u);
  EXPECT_EQ(answer->body, "{\"a\":1}");
}

TEST(HttpResponse, HasNoBodyAndNoLengthWhereThereIsNoContent) {
  const std::string wire = to_wire({.status = HttpStatus::no_content}, true);
  EXPECT_EQ(wire.find("Content-Length"), std::string::npos);
  EXPECT_THAT(wire, HasSubstr("Connection: keep-alive\r\n"));
  const auto answer = parse_answer(wire);
  ASSERT_TRUE(answer) << answer.error();
  EXPECT_EQ(answer->status, 204u);
  EXPECT_EQ(answer->body, "");
}

TEST(HttpResponse, SaysWhatMethodsAreAllowed) {
  EXPECT_THAT(
      to_wire({.status = HttpStatus::method_not_allowed, .body = "{}", .allow = "GET, PATCH"},
              true),
      HasSubstr("Allow: GET, PATCH\r\n"));
}

TEST(HttpResponse, AFaultIsJsonWhateverTheMessage) {
  EXPECT_EQ(fault(HttpStatus::bad_request, "no \"x\"\n").body,
            "{\"fault_message\":\"no \\\"x\\\"\\n\"}");
  EXPECT_THAT(fault(HttpStatus::bad_request, "\xff\xfe").body, HasSubstr("\xef\xbf\xbd"));
}

TEST(HttpAnswer, SkipsInterimOnes) {
  const auto answer = parse_answer("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\n"
                                   "content-length:   2\r\n\r\n{}");
  ASSERT_TRUE(answer) << answer.error();
  EXPECT_EQ(answer->status, 404u);
  EXPECT_EQ(answer->body, "{}");
}

TEST(HttpAnswer, IsRefusedWhereItIsNone) {
  for (const char* bytes :
       {"", "HTTP/1.1 200 OK\r\n", "SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nab", "HTTP/1.1 200\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200\r\nContent-Length:\r\n\r\n", "HTTP/1.1\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n"}) {
    const auto answer = parse_answer(bytes);
    ASSERT_FALSE(answer) << bytes;
    EXPECT_FALSE(answer.error().empty());
  }
}

} // namespace
} // namespace slat::vmm
