// The disk: what reaches the image and what comes from it, and what does not.
#include "driver.hpp"
#include "temporary_file.hpp"
#include "vmm/virtio/block.hpp"

#include "../vmm/matchers.hpp"

#include <numeric>
#include <random>
#include <sys/stat.h>

namespace slat::vmm::virtio {
namespace {

constexpr Gpa header = 0x100000;
constexpr Gpa status = 0x101000;
constexpr Gpa data = 0x200000;
constexpr std::uint64_t disk_bytes = 1 * mib;

enum Type : std::uint32_t { in = 0, out = 1, flush = 4, get_id = 8, discard = 11, zeroes = 13 };

struct Freed {
  std::uint64_t sector;
  std::uint32_t sectors;
  std::uint32_t flags;
};

Block make_block(const TemporaryFile& file, bool read_only = false) {
  auto image = BlockImage::open(file.path(), read_only);
  SLAT_CHECK(bool(image), "no image");
  return {std::move(*image), 1, "serial-7"};
}

class Disk {
 public:
  explicit Disk(bool read_only = false) : block(make_block(file, read_only)) { driver.start(1); }

  /// The status of a request; 0xff: the device wrote none.
  unsigned request(std::uint32_t type, std::uint64_t sector, std::vector<Buffer> buffers) {
    rig.store(header, std::pair<std::uint64_t, std::uint64_t>{type, sector});
    rig.store<std::uint8_t>(status, 0xff);
    buffers.insert(buffers.begin(), {header, 16, false});
    buffers.push_back({status, 1, true});
    driver.submit(0, buffers);
    const auto used = driver.used(0);
    if (used.size() == 1) written = used.front().length;
    return rig.load<std::uint8_t>(status);
  }

  TemporaryFile file{disk_bytes};
  Block block;
  Rig rig{block};
  Driver driver{rig};
  std::uint32_t written = 0;
};

TEST(Block, SaysItsSizeAndFeatures) {
  Disk disk;
  EXPECT_EQ(disk.rig.read(0x08), 2u);
  EXPECT_EQ(disk.rig.read(0x100), disk_bytes / 512);
  EXPECT_EQ(disk.block.features() & 1u << 5, 0u);
  Disk read_only(true);
  EXPECT_NE(read_only.block.features() & 1u << 5, 0u);
  EXPECT_EQ(read_only.block.features() & 1u << 13, 0u) << "nothing to discard";
}

TEST(Block, WhatIsWrittenIsInTheImageAndIsRead) {
  Disk disk;
  std::mt19937_64 random(1);
  std::vector<std::byte> bytes(12'288);
  for (std::byte& byte : bytes) byte = std::byte(random());
  ASSERT_TRUE(disk.rig.ram().write(data + 100, bytes));
  EXPECT_EQ(disk.request(out, 3, {{data + 100, 512, false}, {data + 612, 11'776, false}}), 0u);
  EXPECT_EQ(disk.written, 1u) << "only the status is written to the guest";
  EXPECT_EQ(disk.file.read(3 * 512, bytes.size()), bytes);
  EXPECT_EQ(disk.request(in, 3, {{data + 0x80000, 12'000, true}, {data + 0x90000, 288, true}}), 0u);
  EXPECT_EQ(disk.written, 12'289u);
  auto found = disk.rig.bytes(data + 0x80000, 12'000);
  const auto rest = disk.rig.bytes(data + 0x90000, 288);
  found.insert(found.end(), rest.begin(), rest.end());
  EXPECT_EQ(found, bytes);
}

TEST(Block, TheStatusMayShareItsBufferWithTheData) {
  Disk disk;
  disk.file.write(0, std::vector<std::byte>(512, std::byte{9}));
  disk.rig.store(header, std::pair<std::uint64_t, std::uint64_t>{in, 0});
  disk.rig.store<std::uint8_t>(data + 512, 0xff);
  disk.driver.submit(0, {{header, 16, false}, {data, 513, true}});
  EXPECT_EQ(disk.rig.load<std::uint8_t>(data + 511), 9);
  EXPECT_EQ(disk.rig.load<std::uint8_t>(data + 512), 0);
}

TEST(Block, NothingPastTheEndIsTouched) {
  Disk disk;
  const std::uint64_t sectors = disk_bytes / 512;
  EXPECT_EQ(disk.request(out, sectors, {{data, 512, false}}), 1u);
  EXPECT_EQ(disk.request(out, sectors - 1, {{data, 1024, false}}), 1u);
  EXPECT_EQ(disk.request(in, UINT64_MAX, {{data, 512, true}}), 1u);
  EXPECT_EQ(disk.request(in, UINT64_MAX / 512, {{data, 512, true}}), 1u);
  EXPECT_EQ(disk.request(out, sectors - 1, {{data, 512, false}}), 0u);
  EXPECT_EQ(disk.file.size(), disk_bytes);
}

TEST(Block, PiecesOfSectorsAreRefused) {
  Disk disk;
  EXPECT_EQ(disk.request(out, 0, {{data, 511, false}}), 1u);
  EXPECT_EQ(disk.request(in, 0, {{data, 513, true}}), 1u);
}

TEST(Block, AReadOnlyDiskIsNotWritten) {
  Disk disk(true);
  disk.rig.store<std::uint64_t>(data, UINT64_MAX);
  EXPECT_EQ(disk.request(out, 0, {{data, 512, false}}), 1u);
  EXPECT_EQ(disk.file.read(0, 1).front(), std::byte{0});
  disk.rig.store(data, Freed{0, 8, 0});
  EXPECT_EQ(disk.request(zeroes, 0, {{data, 16, false}}), 1u);
  EXPECT_EQ(disk.request(in, 0, {{data, 512, true}}), 0u);
}

TEST(Block, FlushIdAndWhatIsUnknown) {
  Disk disk;
  EXPECT_EQ(disk.request(flush, 0, {}), 0u);
  EXPECT_EQ(disk.request(get_id, 0, {{data, 20, true}}), 0u);
  constexpr std::array<char, 8> id = {'s', 'e', 'r', 'i', 'a', 'l', '-', '7'};
  EXPECT_EQ((disk.rig.load<std::array<char, 8>>(data)), id);
  EXPECT_EQ(disk.request(get_id, 0, {{data, 3, true}}), 0u) << "cut short";
  EXPECT_EQ(disk.request(77, 0, {}), 2u);
}

TEST(Block, FreedRangesReadAsZeroAndTakeNoRoom) {
  for (const std::uint32_t type : {discard, zeroes}) {
    Disk disk;
    disk.file.write(0, std::vector<std::byte>(disk_bytes, std::byte{1}));
    const std::uint64_t before = disk.file.allocated();
    const Freed ranges[] = {{8, 64, type == zeroes ? 1u : 0u}, {1024, 1024, 0}, {0, 0, 0}};
    disk.rig.store(data, ranges);
    EXPECT_EQ(disk.request(type, 0, {{data, sizeof ranges, false}}), 0u);
    EXPECT_EQ(disk.file.read(8 * 512, 1).front(), std::byte{0});
    EXPECT_EQ(disk.file.read(8 * 512 - 1, 1).front(), std::byte{1});
    EXPECT_EQ(disk.file.read(1024 * 512, 512 * 1024),
              std::vector<std::byte>(512 * 1024, std::byte{0}));
    EXPECT_LT(disk.file.allocated(), before);
    EXPECT_EQ(disk.file.size(), disk_bytes);
  }
}

TEST(Block, FreedRangesAreChecked) {
  Disk disk;
  const auto ask = [&](std::uint32_t type, Freed range) {
    disk.rig.store(data, range);
    return disk.request(type, 0, {{data, sizeof range, false}});
  };
  EXPECT_EQ(ask(discard, {2048, 1, 0}), 1u) << "past the end";
  EXPECT_EQ(ask(discard, {UINT64_MAX, 2, 0}), 1u);
  EXPECT_EQ(ask(discard, {0, UINT32_MAX, 0}), 1u);
  EXPECT_EQ(ask(discard, {0, 8, 1}), 2u) << "a flag that discard does not have";
  EXPECT_EQ(ask(zeroes, {0, 8, 2}), 2u);
  EXPECT_EQ(disk.request(discard, 0, {{data, 15, false}}), 1u) << "a piece of a range";
  EXPECT_EQ(disk.request(discard, 0, {{data, 33 * 16, false}}), 1u) << "too many";
  EXPECT_EQ(disk.request(discard, 0, {}), 1u) << "none";
}

TEST(Block, ARequestWithoutHeadOrStatusBreaksTheDevice) {
  for (const bool head : {false, true}) {
    Disk disk;
    if (head)
      disk.driver.submit(0, {{header, 16, false}});
    else
      disk.driver.submit(0, {{header, 15, false}, {status, 1, true}});
    ASSERT_EQ(disk.rig.broken().size(), 1u);
    EXPECT_NE(disk.rig.broken().front().find("head or status"), std::string::npos);
  }
}

TEST(Block, AnImageThatIsCutShortIsAnErrorOfTheRequest) {
  Disk disk;
  ASSERT_EQ(::truncate(disk.file.path().c_str(), 512), 0);
  EXPECT_EQ(disk.request(in, 0, {{data, 1024, true}}), 1u);
  EXPECT_EQ(disk.request(in, 0, {{data, 512, true}}), 0u);
  EXPECT_TRUE(disk.rig.broken().empty());
}

TEST(BlockImage, RefusesWhatIsNoImage) {
  EXPECT_THAT(BlockImage::open("/no/such/file", false), FailsWith(Errc::no_such_file, "/no/such"));
  EXPECT_THAT(BlockImage::open("/tmp", true), FailsWith(Errc::no_such_file, "neither a file"));
  EXPECT_THAT(BlockImage::open(TemporaryFile(0).path(), false),
              FailsWith(Errc::bad_image, "0 bytes"));
  EXPECT_THAT(BlockImage::open(TemporaryFile(1000).path(), false),
              FailsWith(Errc::bad_image, "1000"));
}

TEST(BlockImage, OneWriterOrManyReaders) {
  const TemporaryFile file(4096);
  {
    auto first = BlockImage::open(file.path(), true);
    ASSERT_TRUE(first);
    EXPECT_TRUE(BlockImage::open(file.path(), true));
    EXPECT_THAT(BlockImage::open(file.path(), false), FailsWith(Errc::host_unavailable, "in use"));
  }
  auto writer = BlockImage::open(file.path(), false);
  ASSERT_TRUE(writer);
  EXPECT_THAT(BlockImage::open(file.path(), true), FailsWith(Errc::host_unavailable, "in use"));
}

} // namespace
} // namespace slat::vmm::virtio
