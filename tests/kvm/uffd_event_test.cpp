#include "kvm/uffd_event.hpp"

#include <gtest/gtest.h>

namespace slat::kvm {
namespace {

uffd_msg fault(std::uint64_t flags) {
  uffd_msg message{};
  message.event = UFFD_EVENT_PAGEFAULT;
  message.arg.pagefault.flags = flags;
  message.arg.pagefault.address = 0x7000;
  message.arg.pagefault.feat.ptid = 42;
  return message;
}

TEST(DecodeEvent, AFaultTellsWhereWhyAndWho) {
  const auto missing = std::get<FaultEvent>(decode_event(fault(0)));
  EXPECT_EQ(missing.address, 0x7000u);
  EXPECT_EQ(missing.thread_id, 42u);
  EXPECT_FALSE(missing.write || missing.minor || missing.wp);
  EXPECT_TRUE(std::get<FaultEvent>(decode_event(fault(UFFD_PAGEFAULT_FLAG_MINOR))).minor);
  const auto wp =
      std::get<FaultEvent>(decode_event(fault(UFFD_PAGEFAULT_FLAG_WP | UFFD_PAGEFAULT_FLAG_WRITE)));
  EXPECT_TRUE(wp.wp && wp.write && !wp.minor);
}

TEST(DecodeEvent, RangesThatWentAway) {
  uffd_msg message{};
  message.event = UFFD_EVENT_REMOVE;
  message.arg.remove.start = 0x1000;
  message.arg.remove.end = 0x3000;
  EXPECT_EQ(std::get<RemoveEvent>(decode_event(message)).end, 0x3000u);
  message.event = UFFD_EVENT_UNMAP;
  EXPECT_EQ(std::get<UnmapEvent>(decode_event(message)).start, 0x1000u);
  message.event = UFFD_EVENT_REMAP;
  message.arg.remap.from = 1;
  message.arg.remap.to = 2;
  message.arg.remap.len = 3;
  const auto remap = std::get<RemapEvent>(decode_event(message));
  EXPECT_TRUE(remap.from == 1 && remap.to == 2 && remap.bytes == 3);
}

TEST(DecodeEvent, AnythingElseIsUnknownAndNotAFault) {
  uffd_msg message{};
  message.event = 0x77;
  EXPECT_EQ(std::get<UnknownEvent>(decode_event(message)).event, 0x77);
}

} // namespace
} // namespace slat::kvm
