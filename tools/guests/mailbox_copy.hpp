// The host's look at a mailbox that the guest is writing to.
#pragma once

#include "guests/abi.hpp"

#include <cstddef>
#include <cstring>

namespace slat::guest {

/// One sample. Every word is whole; words are of different moments, but `state` and
/// `first_mismatch.valid` are no newer than what they vouch for.
[[nodiscard]] inline Mailbox copy_of(const Mailbox& shared) {
  const std::uint32_t state = load_acquire(shared.state); // pairs with the guest's store_release
  const std::uint32_t valid = load_acquire(shared.first_mismatch.valid); // as above
  Mailbox copy;
  const auto* const words = reinterpret_cast<const std::uint64_t*>(&shared);
  auto* const into = reinterpret_cast<unsigned char*>(&copy);
  for (std::size_t i = 0; i < sizeof(Mailbox) / sizeof(std::uint64_t); ++i) {
    const std::uint64_t word = load_relaxed(words[i]); // behind the two acquires
    std::memcpy(into + i * sizeof(word), &word, sizeof(word));
  }
  copy.state = state;
  copy.first_mismatch.valid = valid;
  return copy;
}

} // namespace slat::guest
