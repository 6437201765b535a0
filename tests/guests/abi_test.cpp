#include "guests/abi.hpp"

#include <cstring>
#include <gtest/gtest.h>
#include <set>
#include <string>

namespace slat::guest {
namespace {

TEST(GuestAbi, MailboxMagicSpellsItsName) {
  EXPECT_EQ(std::memcmp(&mailbox_magic, "slBox1", 6), 0);
}

TEST(GuestAbi, MailboxIsOnePageAndNoTwoWritersShareACacheLine) {
  EXPECT_EQ(sizeof(Mailbox), 4096u);
  EXPECT_LE(offsetof(Mailbox, tsc_khz) + 8, 64u);        // vCPU 0
  EXPECT_EQ(offsetof(Mailbox, stop_request) % 64, 0u);   // the host
  EXPECT_EQ(offsetof(Mailbox, first_mismatch) % 64, 0u); // whoever sees it
  EXPECT_EQ(offsetof(Mailbox, slots) % 64, 0u);          // a vCPU each
  EXPECT_EQ(sizeof(VcpuSlot), 64u);
  EXPECT_EQ(offsetof(Mailbox, discarded) % 64, 0u); // the host
}

TEST(GuestAbi, EveryKindHasANameOfItsOwn) {
  std::set<std::string> names;
  for (std::uint32_t kind = 0; kind <= static_cast<std::uint32_t>(Kind::counter); ++kind) {
    names.insert(to_string(static_cast<Kind>(kind)));
  }
  EXPECT_EQ(names.size(), 7u);
  EXPECT_EQ(names.count("unknown"), 0u);
}

TEST(GuestAbi, AddOwnAdds) {
  std::uint64_t field = 40;
  add_own(field, 2);
  EXPECT_EQ(load_relaxed(field), 42u);
}

} // namespace
} // namespace slat::guest
