// I26: the devices' DMA while the host takes the memory away all the time. Every byte must be there.
#include "driver.hpp"
#include "temporary_file.hpp"
#include "vmm/virtio/balloon.hpp"
#include "vmm/virtio/block.hpp"

#include <chrono>
#include <random>
#include <thread>

namespace slat::vmm::virtio {
namespace {

constexpr std::uint64_t disk_bytes = 1 * mib;
constexpr Gpa header = 0x100000;
constexpr Gpa status = 0x101000;
constexpr Gpa data = 0x180000;

/// Does to random parts of the RAM, until the end of the object, what storms do.
class Taker {
 public:
  explicit Taker(GuestRam& ram) : ram_(&ram) {
    ram.make_store();
    thread_ = std::thread([this] { run(); });
  }

  ~Taker() {
    stopping_.store(true);
    thread_.join();
  }

  Taker(const Taker&) = delete;
  Taker& operator=(const Taker&) = delete;

  [[nodiscard]] unsigned ranges() const { return ranges_.load(); }

 private:
  void run() {
    std::mt19937_64 random(3);
    const std::uint64_t pages = ram_->size() / guest_page_size;
    while (!stopping_.load()) {
      const std::uint64_t first = random() % pages;
      const std::uint64_t bytes = (1 + random() % (pages - first)) * guest_page_size;
      const GpaRange range{first * guest_page_size, bytes};
      switch (random() % 4) {
      case 0:
        EXPECT_TRUE(
            ram_->mm().advise(*ram_->guest_view_of(range.start), bytes, mmu::Advice::dontneed));
        break;
      case 1:
        EXPECT_TRUE(ram_->mm().reclaim(*ram_->guest_view_of(range.start), bytes));
        break;
      case 2:
        EXPECT_TRUE(ram_->set_read_only(range, true));
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 300));
        EXPECT_TRUE(ram_->set_read_only(range, false));
        break;
      default:
        EXPECT_TRUE(ram_->move_view(0));
      }
      ranges_.fetch_add(1);
    }
  }

  GuestRam* ram_;
  std::atomic<bool> stopping_{false};
  std::atomic<unsigned> ranges_{0};
  std::thread thread_;
};

TEST(Dma, I26_ADiskReadsAndWritesRightWhileItsMemoryIsTakenAway) {
  const TemporaryFile file(disk_bytes);
  auto image = BlockImage::open(file.path(), false);
  ASSERT_TRUE(image);
  Block block(std::move(*image), 1, "dma");
  Rig rig(block);
  Driver driver(rig);
  driver.start(1);
  std::vector<std::byte> model(disk_bytes, std::byte{0});
  std::mt19937_64 random(4);
  const Taker taker(rig.ram());
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  unsigned requests = 0;
  while (std::chrono::steady_clock::now() < end || taker.ranges() < 50) {
    const auto sectors = static_cast<std::uint32_t>(1 + random() % 200);
    const std::uint64_t sector = random() % (disk_bytes / 512 - sectors);
    const auto place = model.begin() + static_cast<std::ptrdiff_t>(sector * 512);
    const Gpa at = data + random() % 4096;
    const bool write = random() % 2 == 0;
    if (write) {
      for (auto byte = place; byte != place + sectors * 512; ++byte) *byte = std::byte(random());
      ASSERT_TRUE(rig.ram().write(at, {place, place + sectors * 512}));
    }
    rig.store(header, std::pair<std::uint64_t, std::uint64_t>{write ? 1 : 0, sector});
    rig.store<std::uint8_t>(status, 0xff);
    const std::uint32_t half = sectors * 512 / 2;
    driver.submit(
        0, {{header, 16, false}, {at, half, !write}, {at + half, half, !write}, {status, 1, true}});
    ASSERT_EQ(driver.used(0).size(), 1u);
    ASSERT_EQ(rig.load<std::uint8_t>(status), 0);
    if (!write) {
      ASSERT_EQ(rig.bytes(at, sectors * 512), std::vector<std::byte>(place, place + sectors * 512))
          << "request " << requests;
    }
    ++requests;
  }
  EXPECT_TRUE(rig.broken().empty());
  RecordProperty("requests", int(requests));
  RecordProperty("ranges", int(taker.ranges()));
}

TEST(Dma, I39_ABalloonDiscardsTheRightPagesWhileViewsMove) {
  Balloon balloon({}, 4 * mib);
  Rig rig(balloon);
  Driver driver(rig);
  driver.start(2);
  std::mt19937_64 random(5);
  const Taker taker(rig.ram());
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  while (std::chrono::steady_clock::now() < end || taker.ranges() < 50) {
    constexpr std::uint32_t first = 512; // 2 MiB
    const auto given = static_cast<std::uint32_t>(random() % 64);
    for (std::uint32_t page = first; page < first + 64; ++page)
      rig.store<std::uint64_t>(page * guest_page_size, page);
    rig.store(header, std::array<std::uint32_t, 2>{first + given, first + 63 - given});
    driver.submit(0, {{header, 8, false}});
    ASSERT_EQ(driver.used(0).size(), 1u);
    for (std::uint32_t page = 0; page < 64; ++page) {
      const bool gone = page == given || page == 63 - given;
      ASSERT_EQ(rig.load<std::uint64_t>((first + page) * guest_page_size), gone ? 0 : first + page);
    }
  }
  EXPECT_TRUE(rig.broken().empty());
}

} // namespace
} // namespace slat::vmm::virtio
