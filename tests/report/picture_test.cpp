// PNG, and guest memory as pixels.
#include "sample.hpp"
#include "slat/report/document.hpp"
#include "slat/report/memory_image.hpp"

#include <gmock/gmock.h>

namespace slat::reporting {
namespace {

TEST(ReportPicture, Base64IsThatOfTheRfc) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
  EXPECT_EQ(base64("\xff\xfe\xfd"), "//79");
}

TEST(ReportPicture, APngIsWhatOtherProgramsMakeOfTheSamePixel) {
  Picture picture(1, 1);
  picture.at(0, 0) = {1, 2, 3, 4};
  // By Python's struct and zlib.crc32(), and unpacked by zlib.decompress().
  EXPECT_EQ(
      base64(png(picture)),
      "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAAEElEQVR4AQEFAPr/AAECAwQAGQALubDj6wAAAABJ"
      "RU5ErkJggg==");
}

TEST(ReportPicture, MemoryHasItsLowestAddressAtTheBottomAndIsTransparentWhereNothingIs) {
  const auto document = read_document(test::recording().dump());
  ASSERT_TRUE(document.has_value()) << document.error();
  Picture picture = memory_image(std::get<Recording>(*document).memory);
  ASSERT_EQ(picture.height, 4u);
  ASSERT_EQ(picture.width, 9u); // three steps, three columns each
  const Pixel dirty{0xd5, 0x5e, 0, 255};
  EXPECT_EQ(picture.at(0, 3).alpha, 0) << "absent at first";
  EXPECT_EQ(picture.at(5, 3), dirty) << "slice 0 from 1 s on";
  EXPECT_EQ(picture.at(5, 2).alpha, 128) << "half of slice 1";
  EXPECT_EQ(picture.at(5, 2).red, dirty.red);
  EXPECT_EQ(picture.at(5, 0).alpha, 0);
}

TEST(ReportPicture, SharesAreDigitsOfSixtyFour) {
  const auto document = read_document(test::recording().dump());
  ASSERT_TRUE(document.has_value()) << document.error();
  const MemorySteps& memory = std::get<Recording>(*document).memory;
  EXPECT_EQ(share_digits(memory.steps[2], 2, 4, 4), "__W0"); // all, all, half, none
  EXPECT_EQ(share_digits(memory.steps[2], 2, 4, 2), "_G");
  EXPECT_EQ(share_digits(memory.steps[2], 1, 4, 1), "O"); // three of eight
}

} // namespace
} // namespace slat::reporting
