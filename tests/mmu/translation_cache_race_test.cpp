// Pins against ranges (I26): start waits for those that are there, and keeps new ones out.
#include "mmu/translation_cache.hpp"

#include "support.hpp"

#include <cstring>

namespace slat::mmu {
namespace {

using testing::eventually;
using testing::Latch;
using testing::pattern_of;
using testing::stays;
using testing::why;
using testing::World;
using Pin = TranslationCache::Pin;

struct PinRace : ::testing::Test {
  World world{16};
  testing::Translations cache{world.mm};
  std::uintptr_t at = world.map(0, 16, testing::free_addresses(16)); // where nobody else maps

  /// A device that holds a pin, on its own thread as it must be, until it is told to let go.
  struct Device {
    Device(TranslationCache& cache, std::uintptr_t address, std::uint64_t length = 1) {
      thread = std::thread([this, &cache, address, length] {
        auto pinned = cache.pin(address, length, vm_write);
        EXPECT_TRUE(pinned) << why(pinned);
        bytes = pinned->bytes();
        holds.open();
        let_go.wait();
        std::memset(bytes.data(), 0x77, bytes.size()); // still all there
      });
      holds.wait();
    }

    ~Device() {
      let_go.open();
      thread.join();
    }

    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;

    std::span<std::byte> bytes;
    Latch holds;
    Latch let_go;
    std::thread thread;
  };

  /// Runs `change` on a thread of its own; true if it ends only once the device lets go.
  void expect_waits_for_the_device(std::uintptr_t pinned, const std::function<void()>& change) {
    std::atomic<bool> done{false};
    std::thread invalidator;
    {
      const Device device(*cache, pinned);
      invalidator = std::thread([&] {
        change();
        done = true;
      });
      EXPECT_TRUE(stays([&] { return !done.load(); }));
      EXPECT_TRUE(eventually([&] { return world.mm.notifiers().sequence().count() > 0; }));
    }
    invalidator.join();
    EXPECT_GE(world.count(Counter::pin_wait_count), 1u);
  }
};

TEST_F(PinRace, I26_start_waits_for_a_pin) {
  expect_waits_for_the_device(at, [&] {
    auto range =
        world.mm.notifiers().invalidate_range_start({at, at + page_size, InvalidateEvent::reclaim});
    EXPECT_TRUE(range);
    EXPECT_EQ(*world.backing->host_view(0), std::byte(0x77)) << "it has drained";
    EXPECT_EQ(world.backing->word(0).read().pins(), 0u);
  });
}

TEST_F(PinRace, I26_every_change_waits_for_a_pin) {
  const std::uintptr_t page = at + 3 * page_size;
  expect_waits_for_the_device(
      page, [&] { EXPECT_TRUE(world.mm.advise(page, page_size, Advice::dontneed)); });
  EXPECT_EQ(*world.backing->host_view(3), std::byte(0x77));
  expect_waits_for_the_device(page,
                              [&] { EXPECT_TRUE(world.mm.protect(page, page_size, vm_read)); });
  ASSERT_TRUE(world.mm.protect(page, page_size, vm_read | vm_write));
  expect_waits_for_the_device(
      page, [&] { EXPECT_TRUE(world.mm.advise(page, page_size, Advice::pageout)); });
  expect_waits_for_the_device(
      page, [&] { EXPECT_TRUE(world.mm.advise(page, page_size, Advice::remove)); });
  EXPECT_EQ(world.backing->word(3).read().raw(), 0u) << "what the device wrote last is gone";
  const std::uintptr_t to = testing::free_addresses(1);
  expect_waits_for_the_device(page, [&] {
    const auto moved = world.mm.move(
        {.address = page, .old_length = page_size, .new_length = page_size, .to = to});
    EXPECT_TRUE(moved) << why(moved);
  });
  expect_waits_for_the_device(to, [&] { EXPECT_TRUE(world.mm.unmap(to, page_size)); });
  EXPECT_EQ(testing::allocated_pages(*world.backing), 0u);
}

TEST_F(PinRace, I26_start_waits_for_the_last_of_several_pins) {
  auto first = std::make_unique<Device>(*cache, at);
  auto second = std::make_unique<Device>(*cache, at + page_size - 8, 16); // two pages
  std::atomic<bool> done{false};
  std::thread invalidator([&] {
    EXPECT_TRUE(world.mm.advise(at, 4 * page_size, Advice::remove));
    done = true;
  });
  EXPECT_TRUE(stays([&] { return !done.load(); }));
  first.reset();
  EXPECT_TRUE(stays([&] { return !done.load(); }));
  second.reset();
  invalidator.join();
}

TEST_F(PinRace, I26_pins_of_other_ranges_do_not_matter) {
  const Device device(*cache, at + 8 * page_size, 2 * page_size);
  EXPECT_TRUE(world.mm.advise(at, 8 * page_size, Advice::remove)); // hangs if they did
  EXPECT_TRUE(world.mm.advise(at + 10 * page_size, page_size, Advice::remove));
  EXPECT_EQ(world.count(Counter::pin_wait_count), 0u);
  EXPECT_EQ(device.bytes[0], pattern_of(8));
}

TEST_F(PinRace, I26_no_pin_until_the_end) {
  std::atomic<bool> pinned{false};
  std::thread device;
  {
    auto range =
        world.mm.notifiers().invalidate_range_start({at, at + page_size, InvalidateEvent::reclaim});
    ASSERT_TRUE(range);
    device = std::thread([&] {
      EXPECT_TRUE(cache->pin(at, 1, vm_write));
      pinned = true;
    });
    EXPECT_TRUE(stays([&] { return !pinned.load(); }));
    EXPECT_EQ(cache->pins(), 0u);
  }
  device.join();
}

TEST_F(PinRace, I26_no_pin_until_the_last_of_nested_and_parallel_ranges_has_ended) {
  NotifierChain& chain = world.mm.notifiers();
  auto outer = chain.invalidate_range_start({at, at + 4 * page_size, InvalidateEvent::zap});
  auto inner = chain.invalidate_range_start({at, at + page_size, InvalidateEvent::zap});
  ASSERT_TRUE(outer && inner);
  Latch begun;
  Latch end;
  std::thread parallel([&] {
    auto range = chain.invalidate_range_start({at, at + 2 * page_size, InvalidateEvent::zap});
    begun.open();
    end.wait();
  });
  begun.wait();
  std::atomic<bool> pinned{false};
  std::thread device([&] {
    EXPECT_TRUE(cache->pin(at, 1, vm_write));
    pinned = true;
  });
  inner->end();
  EXPECT_TRUE(stays([&] { return !pinned.load(); }));
  outer->end();
  EXPECT_TRUE(stays([&] { return !pinned.load(); }));
  end.open();
  parallel.join();
  device.join();
}

TEST_F(PinRace, a_pin_of_several_pages_goes_as_far_as_no_range_is_in_the_way) {
  ASSERT_TRUE(world.mm.advise(at, 16 * page_size, Advice::willneed));
  auto range = world.mm.notifiers().invalidate_range_start(
      {at + 2 * page_size, at + 3 * page_size, InvalidateEvent::zap});
  std::thread([&] {
    auto pinned = cache->pin(at, 4 * page_size, vm_read);
    ASSERT_TRUE(pinned);
    EXPECT_GE(pinned->bytes().size(), page_size);
    EXPECT_LE(pinned->bytes().size(), 2 * page_size);
  }).join();
}

TEST_F(PinRace, I26_unmap_under_dma_leaves_nothing_behind) {
  // Devices write all the time; the range goes and comes back. What they find is what a fresh page
  // holds or what a device has written, and nothing outlives the last unmap.
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> uses{0};
  std::vector<std::thread> devices;
  for (int i = 0; i < 2; ++i)
    devices.emplace_back([&, i] {
      for (std::uint64_t n = 0; !stop; ++n) {
        const std::uint64_t page = (n * 5 + std::uint64_t(i)) % 16;
        auto pinned = cache->pin(at + page * page_size + std::uint64_t(i) * 64, 64, vm_write);
        if (!pinned) {
          EXPECT_EQ(pinned.error().code, Errc::not_mapped) << why(pinned);
          continue;
        }
        const std::byte found = pinned->bytes()[0];
        EXPECT_TRUE(found == pattern_of(page) || found == std::byte(i + 1)) << int(found);
        std::memset(pinned->bytes().data(), i + 1, 64);
        EXPECT_EQ(pinned->bytes()[63], std::byte(i + 1));
        ++uses;
      }
    });
  for (int round = 0; round < 200 || uses < 100; ++round) {
    const std::uint64_t first = std::uint64_t(round * 3 % 12);
    EXPECT_TRUE(world.mm.unmap(at + first * page_size, 4 * page_size));
    EXPECT_EQ(world.map(first, 4, at + first * page_size), at + first * page_size);
  }
  stop = true;
  for (std::thread& device : devices) device.join();
  EXPECT_TRUE(world.mm.unmap(at, 16 * page_size));
  EXPECT_EQ(testing::allocated_pages(*world.backing), 0u);
}

TEST_F(PinRace, I26_address_space_waits_for_pins_at_its_end) {
  auto device = std::make_unique<Device>(*cache, at);
  std::atomic<bool> done{false};
  std::thread end([&] {
    world.mm.notifiers().release();
    done = true;
  });
  EXPECT_TRUE(stays([&] { return !done.load(); }));
  device.reset();
  end.join();
  EXPECT_EQ(cache->pin(at, 1, vm_read).error().code, Errc::not_mapped) << "there is nothing to pin";
}

} // namespace
} // namespace slat::mmu
