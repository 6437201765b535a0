// The server on a real Unix socket: good requests are answered whatever others send, or do not send.
#include "raw_client.hpp"

#include "vmm/control_socket.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>

namespace slat::vmm {
namespace {

using test::get_once;
using test::RawClient;
using testing::HasSubstr;
using testing::StartsWith;

class SocketTest : public testing::Test {
 protected:
  SocketTest() {
    std::string name = (std::filesystem::temp_directory_path() / "slat-api-XXXXXX").string();
    directory_ = mkdtemp(name.data());
    path_ = directory_ + "/api";
  }

  ~SocketTest() override { std::filesystem::remove_all(directory_); }

  [[nodiscard]] std::size_t files() const {
    return std::size_t(std::distance(std::filesystem::directory_iterator(directory_), {}));
  }

  std::string directory_;
  std::string path_;
};

class UnixListenerTest : public SocketTest {};

TEST_F(UnixListenerTest, ItsFileIsForTheOwnerAloneAndGoesWithIt) {
  const mode_t before = umask(0);
  {
    auto listener = UnixListener::open(path_);
    ASSERT_TRUE(listener) << listener.error().message;
    struct stat info{};
    ASSERT_EQ(lstat(path_.c_str(), &info), 0);
    EXPECT_TRUE(S_ISSOCK(info.st_mode));
    EXPECT_EQ(info.st_mode & 07777, 0600u);
    EXPECT_EQ(files(), 1u) << "and there is no other file";
    EXPECT_TRUE(RawClient(path_).connected());
  }
  EXPECT_EQ(files(), 0u);
  umask(before);
}

TEST_F(UnixListenerTest, WhereALiveOneListensAnotherIsRefusedAndHarmsNothing) {
  auto first = UnixListener::open(path_);
  ASSERT_TRUE(first);
  auto second = UnixListener::open(path_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::invalid_argument);
  EXPECT_THAT(second.error().message, HasSubstr("is in use by another process"));
  EXPECT_TRUE(RawClient(path_).connected());
}

TEST_F(UnixListenerTest, TheSocketOfADeadProcessIsReplaced) {
  const pid_t child = fork();
  if (child == 0) {
    auto listener = UnixListener::open(path_);
    _exit(listener ? 0 : 1); // with no destructor
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  ASSERT_EQ(files(), 1u);
  auto listener = UnixListener::open(path_);
  ASSERT_TRUE(listener) << listener.error().message;
  EXPECT_TRUE(RawClient(path_).connected());
}

TEST_F(UnixListenerTest, WhatIsNoSocketIsLeftAlone) {
  std::ofstream(path_) << "precious";
  auto listener = UnixListener::open(path_);
  ASSERT_FALSE(listener);
  EXPECT_THAT(listener.error().message, HasSubstr("is no socket"));
  std::string content;
  std::ifstream(path_) >> content;
  EXPECT_EQ(content, "precious");
  std::filesystem::remove(path_);
  std::filesystem::create_symlink("nowhere", path_);
  EXPECT_FALSE(UnixListener::open(path_));
  EXPECT_TRUE(std::filesystem::is_symlink(path_));
}

TEST_F(UnixListenerTest, PathsThatCannotBeAreRefusedInOneLine) {
  const auto error_of = [](const std::string& path) {
    auto listener = UnixListener::open(path);
    EXPECT_FALSE(listener) << path;
    return listener ? Error{} : listener.error();
  };
  EXPECT_THAT(error_of("/tmp/" + std::string(104, 'x')).message,
              HasSubstr("has 109 bytes; give one of 1 to 107"));
  EXPECT_EQ(error_of("").code, Errc::invalid_argument);
  EXPECT_EQ(error_of(directory_ + "/none/api").code, Errc::no_such_file);
  EXPECT_EQ(error_of(directory_).code, Errc::invalid_argument) << "a directory";
}

TEST_F(UnixListenerTest, AFileThatIsNotItsOwnStays) {
  auto first = UnixListener::open(path_);
  ASSERT_TRUE(first);
  std::filesystem::rename(path_, path_ + "-moved");
  auto second = UnixListener::open(path_);
  ASSERT_TRUE(second);
  {
    const UnixListener gone = std::move(*first);
  }
  EXPECT_TRUE(RawClient(path_).connected());
}

TEST(PeerCredentials, OnlyTheSameUserAndRootMayControl) {
  EXPECT_TRUE(may_control(1000, 1000));
  EXPECT_TRUE(may_control(0, 1000));
  EXPECT_FALSE(may_control(1001, 1000));
  EXPECT_FALSE(may_control(1000, 0));
}

class ControlSocketTest : public SocketTest {
 protected:
  void serve(const ControlConnection::Limits& limits = {}) {
    auto socket = ControlSocket::open(
        path_,
        [this](const HttpRequest& request) {
          ++handled_;
          return HttpResponse{
              .body = "\"" + request.target + "|" +
                      (request.target == "/big" ? std::string(4 << 20, 'x') : request.body) + "\""};
        },
        SeccompMode::off, limits);
    ASSERT_TRUE(socket) << socket.error().message;
    socket_ = std::move(*socket);
  }

  void expect_alive() {
    EXPECT_THAT(get_once(path_, "/alive"), HasSubstr("\"/alive|\"")) << "a good request";
  }

  std::atomic<unsigned> handled_{0};
  std::unique_ptr<ControlSocket> socket_;
};

TEST_F(ControlSocketTest, AnswersRequestsOneAfterAnotherOnOneConnection) {
  serve();
  RawClient client(path_);
  for (const char* target : {"/a", "/b", "/c"}) {
    client.send(std::string("GET ") + target + " HTTP/1.1\r\n\r\n");
    EXPECT_THAT(client.read_until("|\""), HasSubstr(target));
  }
  client.send("GET /1 HTTP/1.1\r\n\r\nPUT /2 HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
              "GET /3 HTTP/1.1\r\nConnection: close\r\n\r\n");
  const std::string answers = client.read_to_end();
  EXPECT_TRUE(client.ended());
  EXPECT_LT(answers.find("\"/1|\""), answers.find("\"/2|{}\""));
  EXPECT_LT(answers.find("\"/2|{}\""), answers.find("\"/3|\""));
  EXPECT_EQ(handled_, 6u);
}

TEST_F(ControlSocketTest, AnswersWhoHasClosedItsSideAndWhoWaitsToSendTheBody) {
  serve();
  RawClient half(path_);
  half.send("GET /half HTTP/1.1\r\n\r\n");
  half.end_of_input();
  EXPECT_THAT(half.read_to_end(), HasSubstr("/half"));
  RawClient waiting(path_);
  waiting.send("PUT /w HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_THAT(waiting.read_until("\r\n\r\n"), StartsWith("HTTP/1.1 100 Continue"));
  waiting.send("{}");
  EXPECT_THAT(waiting.read_until("{}"), HasSubstr("200 OK"));
}

TEST_F(ControlSocketTest, RefusesWhatIsMalformedOrTooLargeAndStaysAlive) {
  serve();
  const std::string large(60'000, 'x');
  for (const auto& [bytes, status] : std::vector<std::pair<std::string, std::string>>{
           {"\x16\x03\x01garbage\n", "400"},
           {"GET / HTTP/3.0\r\n\r\n", "505"},
           {"PUT / HTTP/1.1\r\nContent-Length: 60000\r\n\r\n" + large, "413"},
           {"GET /" + large + " HTTP/1.1\r\n\r\n", "414"},
           {"GET / HTTP/1.1\r\nA: " + large + "\r\n\r\n", "431"},
           {"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "501"}}) {
    RawClient client(path_);
    client.send(bytes); // some may not be taken
    client.end_of_input();
    const std::string answer = client.read_to_end();
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 " + status)) << bytes.substr(0, 40);
    EXPECT_THAT(answer, HasSubstr("fault_message"));
    EXPECT_TRUE(client.ended()) << "and it is closed";
    expect_alive();
  }
  EXPECT_EQ(handled_, 6u) << "only the good ones";
}

TEST_F(ControlSocketTest, WhoIsRefusedCanSendAllOfItAndReadWhy) {
  serve();
  RawClient client(path_);
  EXPECT_TRUE(client.send("PUT / HTTP/1.1\r\nContent-Length: 700000\r\n\r\n"));
  EXPECT_TRUE(client.send(std::string(700'000, 'x'))) << "more than the kernel keeps";
  client.end_of_input();
  EXPECT_THAT(client.read_to_end(), StartsWith("HTTP/1.1 413 "));
}

TEST_F(ControlSocketTest, AnswersWhoNeverComesToTheEndWith408) {
  serve({.request = std::chrono::milliseconds(300)});
  RawClient asked(path_); // told to go on, it does not
  asked.send("PUT / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_THAT(asked.read_until("HTTP/1.1 408 "), HasSubstr("HTTP/1.1 408 "));
  RawClient slow(path_);
  slow.send("GET / HT");
  expect_alive();
  EXPECT_THAT(slow.read_to_end(), StartsWith("HTTP/1.1 408 "));
  RawClient drip(
      path_); // always something, never the end; the line would be too long after a second
  for (bool first = true; drip.send(first ? "GET /" : "a") && !drip.readable(); first = false)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_THAT(drip.read_to_end(), StartsWith("HTTP/1.1 408 "));
  expect_alive();
}

TEST_F(ControlSocketTest, ClosesWhoIsIdleForTooLong) {
  serve({.idle = std::chrono::milliseconds(50)});
  RawClient silent(path_);
  EXPECT_EQ(silent.read_to_end(), "");
  EXPECT_TRUE(silent.ended());
}

TEST_F(ControlSocketTest, DoesNotWaitForWhoDoesNotRead) {
  serve({.request = std::chrono::milliseconds(200)});
  RawClient deaf(path_);
  deaf.send("GET /big HTTP/1.1\r\n\r\n");
  while (handled_ == 0) std::this_thread::yield();
  expect_alive();
  std::this_thread::sleep_for(std::chrono::milliseconds(300)); // given up meanwhile
  EXPECT_LT(deaf.read_to_end().size(), std::size_t(4) << 20);
  EXPECT_TRUE(deaf.ended());
}

TEST_F(ControlSocketTest, MakesRoomForNewOnesAmongThoseWhoAreIdle) {
  serve();
  std::list<RawClient> idle;
  for (std::size_t i = 0; i < 3 * ControlSocket::max_connections; ++i) idle.emplace_back(path_);
  expect_alive();
  EXPECT_EQ(idle.front().read_to_end(), "");
  EXPECT_TRUE(idle.front().ended()) << "who was idle for longest had to go";
  EXPECT_FALSE(idle.back().readable());
  idle.clear();
  expect_alive();
}

TEST_F(ControlSocketTest, WhoIsSlowInNumbersDelaysOthersOnlyUntilItsTimeIsOver) {
  serve({.request = std::chrono::milliseconds(100)});
  std::list<RawClient> slow;
  for (std::size_t i = 0; i < 2 * ControlSocket::max_connections; ++i)
    slow.emplace_back(path_).send("GET");
  expect_alive();
}

TEST_F(ControlSocketTest, EndsAtOnceWithConnectionsOpen) {
  serve();
  RawClient idle(path_);
  RawClient begun(path_);
  begun.send("GET");
  expect_alive();
  socket_.reset();
  EXPECT_EQ(idle.read_to_end(), "");
  EXPECT_TRUE(idle.ended());
  EXPECT_FALSE(RawClient(path_).connected());
  EXPECT_EQ(files(), 0u);
}

} // namespace
} // namespace slat::vmm
