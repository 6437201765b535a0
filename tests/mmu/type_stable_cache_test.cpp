#include "mmu/type_stable_cache.hpp"

#include "mmu/vma_lock/per_vma_lock.hpp"
#include "support.hpp"

#include <algorithm>
#include <set>

namespace slat::mmu {
namespace {

using testing::eventually;
using testing::Latch;
using testing::stays;

struct alignas(64) Object {
  std::uint64_t payload = 0;
  std::atomic<std::uint32_t> lock_word{0};
  std::atomic<int> owner{0};
};

using Cache = TypeStableCache<Object>;

/// Objects to a slab, found out from outside.
std::size_t slab_capacity() {
  Cache cache;
  std::vector<Object*> out{cache.get()};
  while (cache.usage().slabs == 1) out.push_back(cache.get());
  for (Object* object : out) cache.put(object);
  return out.size() - 1;
}

TEST(TypeStableCache, gives_out_distinct_aligned_objects_in_constructor_state) {
  Cache cache;
  std::set<Object*> out;
  for (int i = 0; i < 1000; ++i) {
    Object* const object = cache.get();
    ASSERT_NE(object, nullptr);
    EXPECT_TRUE(out.insert(object).second);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(object) % alignof(Object), 0u);
    EXPECT_EQ(object->lock_word.load(), 0u);
    object->payload = std::uint64_t(i); // overlapping objects would not stay distinct
  }
  std::set<std::uint64_t> payloads;
  for (Object* object : out) payloads.insert(object->payload);
  EXPECT_EQ(payloads.size(), 1000u);
  EXPECT_EQ(cache.usage().live, 1000u);
  for (Object* object : out) cache.put(object);
}

TEST(TypeStableCache, I04_neither_get_nor_put_touches_the_object) {
  Cache cache;
  Object* const object = cache.get();
  object->lock_word = 0xdeadbeef;
  object->payload = 0x0123456789abcdef;
  cache.put(object);
  EXPECT_EQ(object->lock_word.load(), 0xdeadbeefu);
  Object* const again = cache.get();
  EXPECT_EQ(again, object) << "a freed object is reused at once";
  EXPECT_EQ(again->lock_word.load(), 0xdeadbeefu);
  EXPECT_EQ(again->payload, 0x0123456789abcdefu);
  cache.put(again);
}

TEST(TypeStableCache, slab_goes_back_only_after_a_grace_period) {
  Cache cache;
  const std::size_t count = 3 * slab_capacity();
  std::vector<Object*> out;
  for (std::size_t i = 0; i < count; ++i) {
    out.push_back(cache.get());
    out.back()->lock_word = 0x5a5a5a5a;
  }
  static std::atomic<bool> grace_period_over;
  grace_period_over = false;
  Latch inside;
  Latch look;
  std::thread reader([&] {
    const rcu::ReadGuard section;
    inside.open();
    look.wait();
    // Put, and yet still Objects: a slab that was freed is an error to ASan, and other bytes to us.
    for (const Object* object : out) EXPECT_EQ(object->lock_word.load(), 0x5a5a5a5au);
    EXPECT_FALSE(grace_period_over);
  });
  inside.wait();
  for (Object* object : out) cache.put(object);
  cache.flush(); // what the magazine still holds back
  EXPECT_EQ(cache.usage().slabs, Cache::spare_slabs);
  DeferredCall after; // queued behind the slabs, so it may not run before they may
  rcu::call(after, [](DeferredCall*) { grace_period_over = true; });
  EXPECT_TRUE(stays([] { return !grace_period_over.load(); }));
  look.open();
  reader.join();
  rcu::barrier();
  EXPECT_TRUE(grace_period_over);
}

TEST(TypeStableCache, memory_goes_back_after_a_burst) {
  Cache cache;
  const std::size_t count = 20 * slab_capacity();
  std::vector<Object*> out;
  while (out.size() < count) out.push_back(cache.get());
  EXPECT_EQ(cache.usage().slabs, 20u);
  for (Object* object : out) cache.put(object);
  EXPECT_EQ(cache.usage().live, 0u);
  EXPECT_LE(cache.usage().slabs, Cache::spare_slabs + 1) << "one magazine, of the last slab";
  cache.flush();
  EXPECT_EQ(cache.usage().slabs, Cache::spare_slabs);
  // The spare slab takes a sawtooth without the allocator: with none to be had, get() still works.
  fail_allocation(1);
  Object* const object = cache.get();
  fail_allocation(0);
  ASSERT_NE(object, nullptr);
  cache.put(object);
  cache.shrink();
  EXPECT_EQ(cache.usage().slabs, 0u);
}

TEST(TypeStableCache, magazine_holds_no_more_than_it_may) {
  Cache cache;
  // Of each slab one object goes into the magazine at last, which is the worst that can happen.
  const std::size_t count = 100 * slab_capacity();
  std::vector<Object*> out;
  while (out.size() < count) out.push_back(cache.get());
  std::vector<Object*> last;
  std::set<std::uintptr_t> slabs;
  for (Object* object : out)
    if (slabs.insert(reinterpret_cast<std::uintptr_t>(object) / Cache::slab_bytes).second)
      last.push_back(object);
    else
      cache.put(object);
  ASSERT_EQ(last.size(), 100u);
  for (Object* object : last) cache.put(object);
  EXPECT_EQ(cache.usage().live, 0u);
  EXPECT_LE(cache.usage().slabs, Cache::magazine_capacity + Cache::spare_slabs);
  cache.flush();
  EXPECT_EQ(cache.usage().slabs, Cache::spare_slabs);
}

TEST(TypeStableCache, thread_that_exits_strands_nothing) {
  const std::size_t capacity = slab_capacity();
  Cache cache;
  Object* left = nullptr;
  std::thread([&] {
    left = cache.get();
    cache.put(left); // into a magazine whose thread is about to go
  }).join();
  EXPECT_EQ(cache.usage().live, 0u);
  // The next thread of that slot finds it there.
  Object* next = nullptr;
  std::thread([&] {
    next = cache.get();
    cache.put(next);
  }).join();
  EXPECT_EQ(next, left);
  // This thread gets all that there are without another slab, those of the dead one included.
  std::vector<Object*> out;
  fail_allocation(0);
  out.push_back(cache.get());
  while (out.size() < capacity) {
    fail_allocation(1);
    out.push_back(cache.get());
    fail_allocation(0);
    ASSERT_NE(out.back(), nullptr) << out.size();
  }
  EXPECT_EQ(cache.usage().slabs, 1u);
  EXPECT_TRUE(std::find(out.begin(), out.end(), left) != out.end());
  for (Object* object : out) cache.put(object);
  // And flush() empties the magazine of a dead thread.
  std::thread([&] { cache.put(cache.get()); }).join();
  cache.shrink();
  EXPECT_EQ(cache.usage().slabs, 0u);
}

TEST(TypeStableCache, burst_of_threads_that_are_gone_gives_its_memory_back) {
  Cache cache;
  for (int lot = 0; lot < 3; ++lot) {
    std::vector<std::thread> threads;
    for (int t = 0; t < 10; ++t)
      threads.emplace_back([&] {
        std::vector<Object*> mine;
        for (int i = 0; i < 500; ++i) mine.push_back(cache.get());
        for (Object* object : mine) cache.put(object);
      });
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(cache.usage().live, 0u);
  cache.flush();
  EXPECT_EQ(cache.usage().slabs, Cache::spare_slabs);
}

TEST(TypeStableCache, objects_come_back_in_any_order) {
  Cache cache;
  std::vector<Object*> out;
  const std::size_t count = 4 * slab_capacity() + 3;
  for (int round = 0; round < 5; ++round) {
    while (out.size() < count) out.push_back(cache.get());
    std::set<Object*> distinct(out.begin(), out.end());
    ASSERT_EQ(distinct.size(), count);
    // Every third stays; holes all over the slabs.
    std::vector<Object*> kept;
    for (std::size_t i = 0; i < out.size(); ++i)
      if ((i + std::size_t(round)) % 3 == 0)
        kept.push_back(out[i]);
      else
        cache.put(out[i]);
    out = kept;
    EXPECT_EQ(cache.usage().live, out.size());
  }
  for (Object* object : out) cache.put(object);
  cache.flush();
  EXPECT_EQ(cache.usage().slabs, Cache::spare_slabs);
}

TEST(TypeStableCache, want_of_memory_is_a_nullptr_and_changes_nothing) {
  Cache cache;
  fail_allocation(1);
  EXPECT_EQ(cache.get(), nullptr);
  EXPECT_EQ(cache.usage().live, 0u);
  EXPECT_EQ(cache.usage().slabs, 0u);
  Object* const object = cache.get();
  ASSERT_NE(object, nullptr);
  cache.put(object);
}

TEST(TypeStableCache, no_object_is_out_twice_under_concurrency) {
  Cache cache;
  std::vector<std::thread> threads;
  for (int self = 1; self <= 4; ++self)
    threads.emplace_back([&cache, self] {
      std::vector<Object*> mine;
      for (int i = 0; i < 2000; ++i) {
        Object* const object = cache.get();
        int nobody = 0;
        EXPECT_TRUE(object->owner.compare_exchange_strong(nobody, self));
        mine.push_back(object);
        if (mine.size() == 200)
          for (; !mine.empty(); mine.pop_back()) {
            mine.back()->owner = 0;
            cache.put(mine.back());
          }
      }
      for (Object* object : mine) {
        object->owner = 0;
        cache.put(object);
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(cache.usage().live, 0u);
}

TEST(TypeStableCache, more_threads_than_slots_and_flushes_lose_no_object) {
  Cache cache;
  std::atomic<bool> stop{false};
  std::thread flusher([&] {
    while (!stop) {
      cache.flush();
      cache.shrink();
    }
  });
  std::vector<std::thread> threads;
  for (int self = 1; self <= int(thread_slots) + 20; ++self)
    threads.emplace_back([&cache, self] {
      for (int i = 0; i < 200; ++i) {
        Object* objects[3];
        for (Object*& object : objects) {
          object = cache.get();
          int nobody = 0;
          EXPECT_TRUE(object->owner.compare_exchange_strong(nobody, self));
          object->payload = std::uint64_t(self); // plain: TSan knows what the cache must order
        }
        for (Object* object : objects) {
          EXPECT_EQ(object->payload, std::uint64_t(self));
          object->owner.store(0, std::memory_order_relaxed);
          cache.put(object);
        }
      }
    });
  for (std::thread& thread : threads) thread.join();
  stop = true;
  flusher.join();
  EXPECT_EQ(cache.usage().live, 0u);
  cache.shrink();
  EXPECT_EQ(cache.usage().slabs, 0u);
}

TEST(TypeStableCache, object_put_by_one_thread_is_got_by_another_as_it_was_left) {
  Cache cache;
  std::vector<Object*> out;
  for (std::uint64_t i = 0; i < 200; ++i) {
    out.push_back(cache.get());
    out.back()->payload = i + 1;
  }
  std::set<Object*> all(out.begin(), out.end());
  std::thread([&] {
    for (Object* object : out) {
      object->payload += 1000; // plain
      cache.put(object);
    }
  }).join();
  std::size_t same = 0;
  for (Object*& object : out) {
    object = cache.get();
    if (!all.contains(object)) continue;
    ++same;
    EXPECT_GT(object->payload, 1000u);
  }
  EXPECT_GE(same, 200u - Cache::magazine_capacity);
  for (Object* object : out) cache.put(object);
}

TEST(TypeStableCache, I04_vma_from_the_cache_is_detached_in_every_life) {
  using Vma = PerVmaRefcount::Vma;
  TypeStableCache<Vma> cache;
  Vma* const vma = cache.get();
  EXPECT_TRUE(vma->lock.is_detached());
  cache.put(vma);
  EXPECT_EQ(cache.get(), vma);
  EXPECT_TRUE(vma->lock.is_detached());
  cache.put(vma);
}

TEST(TypeStableCacheDeathTest, cache_outlives_its_objects) {
  if (!testing::checked_build) GTEST_SKIP() << "asserted in checked builds only";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Cache cache;
        (void)cache.get();
      },
      "objects are out");
}

} // namespace
} // namespace slat::mmu
