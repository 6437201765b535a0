// Requests' bodies: flat objects are read, everything else is refused with a reason.
#include "vmm/json_fields.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slat::vmm {
namespace {

using testing::HasSubstr;

TEST(JsonFields, GivesEachMemberOnce) {
  auto fields = JsonFields::parse(R"( {"kinds":"zap\u0041", "rate" : 1000} )");
  ASSERT_TRUE(fields) << fields.error();
  EXPECT_EQ(fields->take_string("kinds"), "zapA");
  EXPECT_EQ(fields->take_number("rate", 1, 1000), 1000u);
  EXPECT_EQ(fields->take_number("pages", 1, 2), std::nullopt);
  EXPECT_TRUE(fields->done());
}

TEST(JsonFields, AnEmptyObjectHasNone) {
  auto fields = JsonFields::parse("{}");
  ASSERT_TRUE(fields);
  EXPECT_EQ(fields->take_string("state"), std::nullopt);
  EXPECT_TRUE(fields->done());
}

TEST(JsonFields, RefusesWhatIsNoFlatObject) {
  const std::string deep = "{\"a\":" + std::string(40'000, '[');
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("{}x"), std::string("{'a':1}"),
        std::string("[]"), std::string("1"), std::string("\"a\""), std::string("null"),
        std::string("{\"a\":{}}"), std::string("{\"a\":[1]}"), std::string("{\"a\":1,\"a\":1}"),
        std::string("{\"a\":\"\xff\"}"), std::string("{\"a\":1,}"), std::string("{\"a\":01}"),
        std::string("{\"a\":1e999}"), deep}) {
    const auto fields = JsonFields::parse(text);
    ASSERT_FALSE(fields) << text.substr(0, 40);
    EXPECT_THAT(fields.error(), testing::StartsWith("the body is ")) << text.substr(0, 40);
    EXPECT_EQ(fields.error().find('\n'), std::string::npos);
  }
}

TEST(JsonFields, SaysWhichMemberIsWrong) {
  for (const char* value : {"1", "null", "true", "1.5"}) {
    auto fields = JsonFields::parse(std::string("{\"state\":") + value + "}");
    ASSERT_TRUE(fields) << fields.error();
    EXPECT_EQ(fields->take_string("state"), std::nullopt) << value;
    ASSERT_FALSE(fields->done()) << value;
    EXPECT_THAT(fields->done().error(), HasSubstr("'state' is not a string"));
  }
  for (const char* value : {"0", "11", "-1", "1.0", "\"1\"", "true", "18446744073709551616"}) {
    auto fields = JsonFields::parse(std::string("{\"rate\":") + value + "}");
    ASSERT_TRUE(fields) << fields.error();
    EXPECT_EQ(fields->take_number("rate", 1, 10), std::nullopt) << value;
    ASSERT_FALSE(fields->done()) << value;
    EXPECT_THAT(fields->done().error(), HasSubstr("'rate' is not a whole number from 1 to 10"));
  }
}

TEST(JsonFields, RefusesMembersThatNobodyTook) {
  auto fields = JsonFields::parse(R"({"state":"Paused","sta\nte":1})");
  ASSERT_TRUE(fields);
  EXPECT_EQ(fields->take_string("state"), "Paused");
  ASSERT_FALSE(fields->done());
  EXPECT_THAT(fields->done().error(), HasSubstr("no member 'sta?te'"));
}

} // namespace
} // namespace slat::vmm
