// The control API over a fake machine: each endpoint does its one thing, and says clearly what it will not do.
#include "fake_controlled.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace slat::vmm {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class Control : public testing::Test {
 protected:
  HttpResponse ask(HttpMethod method, const std::string& target, const std::string& body = {}) {
    return api_.answer({.method = method, .target = target, .body = body});
  }

  json get(const std::string& target) {
    const HttpResponse response = ask(HttpMethod::get, target);
    EXPECT_EQ(unsigned(response.status), 200u) << response.body;
    return json::parse(response.body, nullptr, false);
  }

  /// Status and message of a refusal.
  std::pair<unsigned, std::string> refused(const HttpResponse& response) {
    const json body = json::parse(response.body, nullptr, false);
    EXPECT_TRUE(body.is_object() && body.size() == 1) << response.body;
    return {unsigned(response.status), body.value("fault_message", "")};
  }

  void expect_done(const HttpResponse& response) {
    EXPECT_EQ(unsigned(response.status), 204u) << response.body;
    EXPECT_EQ(response.body, "");
  }

  FakeControlled machine_;
  ControlApi api_{machine_};
};

TEST_F(Control, DescribesTheInstanceAsFirecrackerDoes) {
  EXPECT_EQ(get("/"), json::parse(R"({"app_name":"slat","id":"slat-7","state":"Running",
                                      "vmm_version":"0.1.0"})"));
  machine_.paused = true;
  EXPECT_EQ(get("/")["state"], "Paused");
}

TEST_F(Control, PausesAndResumesAsOftenAsAsked) {
  for (int i = 0; i < 2; ++i) expect_done(ask(HttpMethod::patch, "/vm", R"({"state":"Paused"})"));
  EXPECT_TRUE(machine_.paused);
  for (int i = 0; i < 2; ++i) expect_done(ask(HttpMethod::patch, "/vm", R"({"state":"Resumed"})"));
  EXPECT_FALSE(machine_.paused);
  for (const char* body : {"{}", R"({"state":"paused"})", R"({"state":1})", "", "[]",
                           R"({"state":"Paused","force":true})"})
    EXPECT_EQ(refused(ask(HttpMethod::patch, "/vm", body)).first, 400u) << body;
  EXPECT_FALSE(machine_.paused) << "a refused request does nothing";
}

TEST_F(Control, GivesTheMachinesConfigurationAndStatistics) {
  EXPECT_EQ(get("/machine-config"),
            json::parse(R"({"vcpu_count":2,"mem_size_mib":256,"accelerator":"soft",
                            "vma_lock":"vma-refcount"})"));
  EXPECT_EQ(get("/memory"), json::parse(R"({"fault_count":7})"));
}

TEST_F(Control, ShowsAndSetsTheBalloon) {
  EXPECT_EQ(get("/balloon"), json::parse(R"({"amount_mib":64,"actual_mib":32,"deflate_on_oom":true,
                                             "free_page_reporting":false})"));
  expect_done(ask(HttpMethod::patch, "/balloon", R"({"amount_mib":100})"));
  EXPECT_EQ(machine_.fake_balloon.state().target_bytes, 100u << 20);
  EXPECT_EQ(get("/balloon/statistics"),
            json::parse(R"({"target_mib":100,"actual_mib":32,"target_pages":25600,
                            "actual_pages":8192,"free_memory":12345})"));
}

TEST_F(Control, RefusesBalloonsThatCannotBe) {
  EXPECT_THAT(refused(ask(HttpMethod::patch, "/balloon", R"({"amount_mib":257})")).second,
              HasSubstr("beyond the RAM"));
  for (const char* body : {R"({"amount_mib":-1})", R"({"amount_mib":17592186044416})",
                           R"({"amount_mib":1.5})", "{}", R"({"amount_mib":1,"x":1})"})
    EXPECT_EQ(refused(ask(HttpMethod::patch, "/balloon", body)).first, 400u) << body;
  EXPECT_EQ(machine_.fake_balloon.state().target_bytes, 64u << 20);
  machine_.has_balloon = false;
  for (const auto& response :
       {ask(HttpMethod::get, "/balloon"), ask(HttpMethod::get, "/balloon/statistics"),
        ask(HttpMethod::patch, "/balloon", R"({"amount_mib":1})")}) {
    EXPECT_EQ(refused(response).first, 400u);
    EXPECT_THAT(refused(response).second, HasSubstr("no balloon"));
  }
}

TEST_F(Control, StartsShowsAndEndsAStorm) {
  expect_done(ask(HttpMethod::put, "/storm", R"({"kinds":"zap,reclaim","rate":9,"pages":5})"));
  EXPECT_EQ(machine_.last.rate, 9u);
  EXPECT_EQ(get("/storm"), json::parse(R"({"running":true,"kinds":"zap,reclaim","rate":9,"pages":5,
                                           "ranges":17})"));
  EXPECT_THAT(refused(ask(HttpMethod::put, "/storm", R"({"kinds":"zap"})")).second,
              HasSubstr("is running"));
  expect_done(ask(HttpMethod::delete_, "/storm"));
  EXPECT_FALSE(machine_.running);
  EXPECT_EQ(refused(ask(HttpMethod::delete_, "/storm")).first, 400u);
  expect_done(ask(HttpMethod::put, "/storm", R"({"kinds":"zap"})"));
  EXPECT_EQ(machine_.last.rate, 1000u) << "as without --storm-rate";
  EXPECT_EQ(machine_.last.pages, 512u);
  machine_.storm_error = "out of luck";
  EXPECT_EQ(get("/storm")["error"], "out of luck");
}

TEST_F(Control, RefusesStormsThatCannotBe) {
  for (const char* body :
       {"{}", R"({"kinds":"rain"})", R"({"kinds":1})", R"({"kinds":"zap","rate":0})",
        R"({"kinds":"zap","rate":1000001})", R"({"kinds":"zap","pages":0})",
        R"({"kinds":"zap","pages":16777217})", R"({"kinds":"zap","seed":1})"})
    EXPECT_EQ(refused(ask(HttpMethod::put, "/storm", body)).first, 400u) << body;
  EXPECT_FALSE(machine_.running);
}

TEST_F(Control, ShutsDown) {
  EXPECT_EQ(refused(ask(HttpMethod::put, "/actions", R"({"action_type":"InstanceStart"})")).first,
            400u);
  EXPECT_EQ(machine_.shutdowns, 0u);
  expect_done(ask(HttpMethod::put, "/actions", R"({"action_type":"Shutdown"})"));
  EXPECT_EQ(machine_.shutdowns, 1u);
}

TEST_F(Control, KnowsNoOtherPathsAndMethods) {
  for (const char* target : {"/vm/", "/VM", "/storm?x", "//", "/balloon/", "/%76m"})
    EXPECT_EQ(refused(ask(HttpMethod::get, target)).first, 404u) << target;
  const HttpResponse response = ask(HttpMethod::post, "/storm", "{}");
  EXPECT_EQ(refused(response).first, 405u);
  EXPECT_EQ(response.allow, "GET, PUT, DELETE");
  EXPECT_EQ(refused(ask(HttpMethod::get, "/vm")).first, 405u);
  EXPECT_EQ(refused(ask(HttpMethod::delete_, "/")).first, 405u);
}

TEST_F(Control, ARequestThatTakesNoBodyHasNone) {
  EXPECT_EQ(refused(ask(HttpMethod::get, "/", "{}")).first, 400u);
  machine_.running = true;
  EXPECT_EQ(refused(ask(HttpMethod::delete_, "/storm", "{}")).first, 400u);
  EXPECT_TRUE(machine_.running);
}

} // namespace
} // namespace slat::vmm
