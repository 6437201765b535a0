// Magazines, what VMAs are taken from: an object is never out twice, none is lost, and who gets an
// object sees what its last user wrote. I04 and "recycled at once" stand on it.
#include "mmu/magazine.hpp"

#include "model/harness.hpp"

namespace slat::model {
namespace {

/// Plain data, as all of an object but its lock word is: two users at a time, or one that does not
/// see the last one's writes, are a data race.
struct Object {
  RelacyAtomics::var<int> out{0};
  RelacyAtomics::var<int> uses{0};
};

/// Stands in for SlabDepot: a stack under a mutex.
template <unsigned Objects> class Depot {
 public:
  Depot() {
    for (unsigned i = 0; i < Objects; ++i) free_[i].set(&objects_[i]);
    count_.set(Objects);
  }

  unsigned take(Object** objects, unsigned most, bool) {
    mutex_.lock();
    unsigned taken = 0;
    for (unsigned count = count_.get(); taken < most && count != 0; ++taken) {
      objects[taken] = free_[--count].get();
      count_.set(count);
    }
    mutex_.unlock();
    return taken;
  }

  void give(Object* const* objects, unsigned count) {
    mutex_.lock();
    const unsigned before = count_.get();
    MODEL_CHECK(before + count <= Objects); // one came back twice
    for (unsigned i = 0; i < count; ++i) free_[before + i].set(objects[i]);
    count_.set(before + count);
    mutex_.unlock();
  }

  void check_all_are_here(int uses) {
    MODEL_CHECK(count_.get() == Objects);
    int sum = 0;
    for (Object& object : objects_) {
      MODEL_CHECK(object.out.get() == 0);
      object.out.set(1); // each once
      sum += object.uses.get();
    }
    MODEL_CHECK(sum == uses);
  }

 private:
  ModelMutex mutex_;
  RelacyAtomics::var<unsigned> count_;
  RelacyAtomics::var<Object*> free_[Objects];
  Object objects_[Objects];
};

template <unsigned Objects> struct Cache {
  using Pool = mmu::Magazines<RelacyAtomics, Object, Depot<Objects>, 2, 2>;

  Object* get(unsigned slot) {
    Object* const object = magazines->get(slot);
    if (object == nullptr) return nullptr; // others have them
    MODEL_CHECK(object->out.get() == 0);
    object->out.set(1);
    object->uses.set(object->uses.get() + 1);
    ++uses;
    return object;
  }

  void put(Object* object, unsigned slot) {
    if (object == nullptr) return;
    object->out.set(0);
    magazines->put(object, slot);
  }

  void at_rest() {
    magazines->flush();
    MODEL_CHECK(magazines->stock() == 0);
    depot.check_all_are_here(uses);
  }

  Depot<Objects> depot;
  Placed<Pool> magazines{depot};
  int uses = 0; // the model's own note
};

/// `Threads` get and put, in slots of their own or all in one. Three at a time do not fit into a
/// magazine, so some come from the depot and some go there.
template <int Threads, unsigned Objects, unsigned AtATime, bool Share, bool Flush>
struct GetAndPut
    : Model<GetAndPut<Threads, Objects, AtATime, Share, Flush>, Threads + (Flush ? 1 : 0)> {
  void thread(unsigned index) {
    if (index == Threads) {
      cache.magazines->flush();
      cache.magazines->flush();
      return;
    }
    const unsigned slot = Share ? 0 : index;
    for (int round = 0; round < 2; ++round) {
      Object* objects[AtATime];
      for (Object*& object : objects) object = cache.get(slot);
      for (Object* object : objects) cache.put(object, slot);
    }
  }

  void after() { cache.at_rest(); }

  Cache<Objects> cache;
};

/// An object that one thread gets is put by another, in another slot.
struct PutElsewhere : Model<PutElsewhere, 2> {
  void thread(unsigned index) {
    for (std::uint32_t round = 0; round < 3; ++round)
      if (index == 0) {
        passed[round].set(cache.get(0));
        sent.store(round + 1, std::memory_order_release);
        RelacyAtomics::wake_all(sent);
      } else {
        for (std::uint32_t seen = 0; seen <= round;) {
          RelacyAtomics::wait_while(sent, seen);
          seen = sent.load(std::memory_order_acquire);
        }
        cache.put(passed[round].get(), 1);
      }
  }

  void after() { cache.at_rest(); }

  Cache<4> cache;
  RelacyAtomics::atomic<std::uint32_t> sent{0};
  RelacyAtomics::var<Object*> passed[3];
};

/// What is in the magazine of a thread that is gone, another one gets when there is nothing else; also
/// while somebody else flushes.
struct NoneLeft : Model<NoneLeft, 2> {
  void setup() {
    Object* objects[2] = {cache.get(0), cache.get(0)};
    for (Object* object : objects) cache.put(object, 0);
  }

  void thread(unsigned index) {
    if (index == 0) return cache.magazines->flush();
    cache.put(cache.get(1), 1);
  }

  void after() {
    cache.at_rest();
    Object* const first = cache.magazines->get(1);
    cache.magazines->put(first, 0);
    MODEL_CHECK(cache.magazines->get(1) != nullptr); // the depot's last
    MODEL_CHECK(cache.magazines->get(1) == first);   // from the other magazine
  }

  Cache<2> cache;
};

constexpr Scenario scenarios[] = {
    MODEL_SCENARIO("own_slots", GetAndPut<2, 6, 3, false, false>),
    MODEL_SCENARIO("own_slots_and_flush", GetAndPut<2, 4, 2, false, true>),
    MODEL_SCENARIO("shared_slot", GetAndPut<3, 4, 1, true, false>),
    MODEL_SCENARIO("shared_slot_and_flush", GetAndPut<2, 4, 3, true, true>),
    MODEL_SMALL_SCENARIO("one_and_flush", GetAndPut<1, 2, 1, false, true>),
    MODEL_SCENARIO("put_elsewhere", PutElsewhere),
    MODEL_SCENARIO("none_left", NoneLeft),
};

} // namespace
} // namespace slat::model

int main(int argc, char** argv) {
  return slat::model::run_models(argc, argv, slat::model::scenarios);
}
