#include "guests/memstress/worker.hpp"

#include "guests/page_pattern.hpp"
#include "guests/runtime/io.hpp"
#include "guests/shared_counter.hpp"

#include <cstdint>

namespace slat::guest {
namespace {

constexpr std::uint64_t batch = 16; // visits between two looks at the clock and the mailbox

} // namespace

Worker::Worker(std::uint32_t vcpu)
    : vcpu_(vcpu), slot_(slat_mailbox.slots[vcpu]),
      generations_(reinterpret_cast<std::uint32_t*>(memory(stress.plan.generations))),
      begin_(stress.options.overlap ? 0 : stress.plan.share_begin(vcpu, stress.vcpus)),
      size_(stress.options.overlap ? stress.plan.private_pages
                                   : stress.plan.share_begin(vcpu + 1, stress.vcpus) - begin_),
      random_state_((stress.options.seed * 61 + vcpu + 1) * Pattern::step | 1),
      order_(stress.options.order) {}

void Worker::initialise() {
  for (std::uint64_t index = begin_; index < begin_ + size_; ++index) {
    const std::uint64_t address = stress.plan.address(index);
    const PageId id{page_number(address), 1};
    if (stress.options.touch) {
      store_relaxed(memory(address)[0], Pattern::tag(id));
    } else {
      write_page(memory(address), stress.pattern, id);
    }
    store_relaxed(generations_[index], 1u); // overlap: by each vCPU
    add_own(slot_.pages, 1);
    add_own(slot_.accesses, stress.options.touch ? 1 : words_per_page);
  }
}

void Worker::run() {
  const MemstressOptions& options = stress.options;
  if (options.seconds != 0) deadline_ = read_tsc() + options.seconds * stress.tsc_khz * 1000;
  std::uint64_t left = size_; // of the pass
  std::uint64_t passes = 0;
  for (std::uint64_t visits = 0;; ++visits) {
    if (visits % batch == 0) {
      if (stop_asked()) break;
      damage_on_request();
      touch_writes_ = load_relaxed(slat_mailbox.touch_writes) != 0;
      if (options.order == Order::mix) order_ = static_cast<Order>(1 + random_below(3));
      if (options.shared_pages != 0 && !options.touch) advance_some_counter();
      if (options.discard) discard();
    }
    const std::uint64_t index = begin_ + next_index();
    if (options.touch) {
      touch(index);
    } else {
      visit(index, next_operation());
    }
    if (--left == 0) {
      left = size_;
      store_relaxed(slot_.passes, ++passes);
      if (passes == options.passes) break;
      if (passes == 2) damage_as_ordered();
    }
  }
  damage_as_ordered(); // where there were no two passes
}

void Worker::verify() {
  const std::uint64_t other = (vcpu_ + 1) % stress.vcpus;
  const std::uint64_t end = stress.plan.share_begin(other + 1, stress.vcpus);
  for (std::uint64_t index = stress.plan.share_begin(other, stress.vcpus); index < end; ++index) {
    if (stress.options.touch) {
      touch(index);
    } else {
      visit(index, Operation::verify);
    }
  }
}

void Worker::visit(std::uint64_t index, Operation operation) {
  const std::uint64_t address = stress.plan.address(index);
  const PageId now{page_number(address), generations_[index]};
  const PageId next{now.page, now.generation + 1};
  std::uint64_t accesses = 0;
  if (now.generation == 0) return add_own(slot_.pages, 1); // given up
  if (operation != Operation::write) {
    accesses += words_per_page;
    if (!check(index, address, now)) operation = Operation::verify; // repaired, nothing to modify
  }
  if (operation != Operation::verify) {
    if (operation == Operation::write) {
      write_page(memory(address), stress.pattern, next);
      accesses += words_per_page;
    } else {
      advance_page(memory(address), stress.pattern, now, next);
      accesses += 2 * words_per_page;
    }
    generations_[index] = next.generation;
  }
  add_own(slot_.pages, 1);
  add_own(slot_.accesses, accesses);
}

// A bad page is reported, then written anew, so that each loss counts once.
bool Worker::check(std::uint64_t index, std::uint64_t address, PageId expected) {
  add_own(slot_.verified, 1);
  const PageCheck found = check_page(memory(address), stress.pattern, expected);
  if (found.good()) [[likely]]
    return true;
  report_page(vcpu_, address, expected, found, false);
  generations_[index] = expected.generation + 1;
  write_page(memory(address), stress.pattern, {expected.page, expected.generation + 1});
  return false;
}

void Worker::discard() {
  if (given_up_ == no_page) {
    if (size_ > 1) give_up(begin_ + random_below(size_));
  } else if (__atomic_load_n(&slat_mailbox.discarded[vcpu_], __ATOMIC_ACQUIRE) ==
             static_cast<std::uint8_t>(give_up_sequence_)) { // pairs with the host's release
    take_back();
  } else if (random_below(16) == 0) {
    look_at_given_up();
  }
}

void Worker::give_up(std::uint64_t index) {
  given_up_ = index;
  given_up_generation_ = generations_[index];
  generations_[index] = 0;
  const std::uint32_t page = page_number(stress.plan.address(index));
  // Release: all that was done to the page comes before; pairs with the host's acquire.
  store_release(slot_.given_up, give_up_request(page, ++give_up_sequence_));
}

// The host may be at it: each word is what it was, or zero.
void Worker::look_at_given_up() {
  const std::uint64_t address = stress.plan.address(given_up_);
  const PageId id{page_number(address), given_up_generation_};
  add_own(slot_.accesses, words_per_page);
  for (std::size_t i = 0; i < words_per_page; ++i) {
    const std::uint64_t found = load_relaxed(memory(address)[i]);
    if (found == 0 || found == stress.pattern.word(id, i)) continue;
    return report_page(vcpu_, address, id, {i, found}, true);
  }
}

// Acknowledged: nothing of it is left, and it is ours again.
void Worker::take_back() {
  const std::uint64_t address = stress.plan.address(given_up_);
  const PageId old{page_number(address), given_up_generation_};
  add_own(slot_.pages, 1);
  add_own(slot_.verified, 1);
  add_own(slot_.accesses, 2 * words_per_page);
  std::size_t i = 0;
  std::uint64_t found = 0;
  while (i < words_per_page && (found = load_relaxed(memory(address)[i])) == 0) ++i;
  if (i < words_per_page) {
    report_discarded(vcpu_, address, old, {i, found});
  } else {
    store_relaxed(slot_.discarded, slot_.discarded + 1);
  }
  write_page(memory(address), stress.pattern, {old.page, old.generation + 1});
  generations_[given_up_] = old.generation + 1;
  given_up_ = no_page;
}

void Worker::touch(std::uint64_t index) {
  const std::uint64_t address = stress.plan.address(index);
  const PageId id{page_number(address), 1};
  if (touch_writes_) {
    store_relaxed(memory(address)[0], Pattern::tag(id));
    add_own(slot_.pages, 1);
    add_own(slot_.accesses, 1);
    return;
  }
  const std::uint64_t found = load_relaxed(memory(address)[0]);
  add_own(slot_.pages, 1);
  add_own(slot_.accesses, 1);
  add_own(slot_.verified, 1);
  if (found == Pattern::tag(id)) [[likely]]
    return;
  report_page(vcpu_, address, id, {0, found}, true);
  store_relaxed(memory(address)[0], Pattern::tag(id));
}

void Worker::advance_some_counter() {
  const std::uint64_t counter = random_below(stress.plan.shared_pages * counters_per_page);
  const std::uint64_t address =
      stress.plan.shared + counter * counter_cell_words * sizeof(std::uint64_t);
  const std::uint64_t amount = 1 + (random() & 15);
  const CounterCheck check =
      advance_counter(memory(address), address, ledger_of(vcpu_)[counter], amount);
  add_own(slot_.accesses, 2);
  add_own(slot_.counted, amount);
  if (!check.good) {
    const std::uint64_t offset = address % page_size + check.word * sizeof(std::uint64_t);
    report_counter(vcpu_, address - address % page_size, offset, check.expected, check.found);
  }
}

// Looks at the page at once, because a later blind write would hide the damage.
void Worker::damage(Kind kind) {
  std::uint64_t index = begin_ + random_below(size_);
  if (index == given_up_) index = begin_ + (index - begin_ + 1) % size_;
  const std::uint64_t address = stress.plan.address(index);
  std::uint64_t* page = memory(address);
  if (stress.options.touch) {
    store_relaxed(page[0], page[0] ^ std::uint64_t{1} << 63); // a page number that no guest has
    return touch(index);
  }
  visit(index, Operation::write); // now there is an older generation
  const PageId now{page_number(address), generations_[index]};
  const PageId older{now.page, now.generation - 1};
  switch (kind) {
  case Kind::none:
    return;
  case Kind::zeroed:
    for (std::size_t i = 0; i < words_per_page; ++i) store_relaxed(page[i], std::uint64_t{0});
    break;
  case Kind::stale:
    write_page(page, stress.pattern, older);
    break;
  case Kind::lost:
    for (std::size_t i = 100; i < 200; ++i) store_relaxed(page[i], stress.pattern.word(older, i));
    break;
  case Kind::foreign:
    write_page(page, stress.pattern, {now.page - 1, 1});
    break;
  case Kind::corrupt:
    store_relaxed(page[300], page[300] ^ std::uint64_t{1} << 17);
    break;
  case Kind::counter:
    if (stress.plan.shared_pages != 0) {
      // Relaxed as every access to a counter: unaccounted, so the sum is wrong at the end.
      __atomic_fetch_add(memory(stress.plan.shared), 1'000'000u, __ATOMIC_RELAXED);
    }
    return;
  }
  visit(index, Operation::verify);
}

void Worker::damage_as_ordered() {
  if (vcpu_ != 0 || damaged_) return;
  damaged_ = true;
  if (stress.options.corrupt != Kind::none) damage(stress.options.corrupt);
}

void Worker::damage_on_request() {
  if (vcpu_ != 0) return;
  const std::uint32_t kind = load_relaxed(slat_mailbox.corrupt_request);
  if (kind == 0) return;
  if (kind <= static_cast<std::uint32_t>(Kind::counter)) damage(static_cast<Kind>(kind));
  store_relaxed(slat_mailbox.corrupt_request, 0u);
}

bool Worker::stop_asked() const {
  return load_relaxed(slat_mailbox.stop_request) != 0 ||
         (deadline_ != UINT64_MAX && read_tsc() >= deadline_);
}

std::uint64_t Worker::next_index() {
  switch (order_) {
  case Order::random:
    return random_below(size_);
  case Order::stride: {
    const std::uint64_t index = stride_;
    stride_ += stress.options.stride;
    if (stride_ >= size_) { // the next round starts one page further: all pages in `stride` rounds
      ++stride_start_;
      if (stride_start_ >= stress.options.stride || stride_start_ >= size_) stride_start_ = 0;
      stride_ = stride_start_;
    }
    return index;
  }
  default: {
    const std::uint64_t index = sequence_;
    sequence_ = index + 1 == size_ ? 0 : index + 1;
    return index;
  }
  }
}

std::uint64_t Worker::random() { // xorshift64*
  random_state_ ^= random_state_ >> 12;
  random_state_ ^= random_state_ << 25;
  random_state_ ^= random_state_ >> 27;
  return random_state_ * 0x2545f4914f6cdd1d;
}

std::uint64_t Worker::random_below(std::uint64_t limit) { // limit below 2^32, as pages are
  return (random() >> 32) * limit >> 32;
}

Worker::Operation Worker::next_operation() {
  const std::uint64_t draw = random_below(200);
  if (draw >= 2 * stress.options.write_percent) return Operation::verify;
  return (draw & 1) != 0 ? Operation::write : Operation::modify;
}

} // namespace slat::guest
