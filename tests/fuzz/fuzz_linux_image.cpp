// Any bytes behind a bzImage's magic: loaded within RAM and clear of each other, or refused in one line with nothing
// written.
#include "expect.hpp"
#include "fake_guest_memory.hpp"
#include "vmm/linux_image.hpp"

#include <array>
#include <cstring>

using namespace slat::vmm;

namespace {

bool apart(const GpaRange& a, const GpaRange& b) {
  return a.start + a.size <= b.start || b.start + b.size <= a.start;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static FakeGuestMemory memory(
      std::vector<GpaRange>{{0, 0x400000}, {0x600000, 0x200000}, {4 * gib, 0x10000}});
  memory.reset();
  std::array<std::byte, 8192> image{};
  size = std::min(size, image.size());
  std::memcpy(image.data(), data, size);
  const std::array<std::uint8_t, 2> mark{0x55, 0xaa};
  std::memcpy(image.data() + 0x1fe, mark.data(), mark.size());
  std::memcpy(image.data() + 0x202, "HdrS", 4);
  const auto bytes = std::span(image).first(std::max<std::size_t>(size, 0x206));
  expect(is_bzimage(bytes), "the magic is there");
  const auto kernel = load_bzimage(memory, bytes, "fuzz");
  if (!kernel) {
    expect(kernel.error().code == Errc::bad_image && !kernel.error().message.empty() &&
               kernel.error().message.find('\n') == std::string::npos,
           "a refusal says bad_image in one line");
    expect(memory.writes().empty(), "a refused image writes nothing");
    return 0;
  }
  expect(kernel->room.start >= high_ram_start, "nothing is loaded below 1 MiB");
  expect(contains(memory.ranges(), kernel->room.start, kernel->room.size), "its room is RAM");
  for (const GpaRange& write : memory.writes())
    expect(write.start >= kernel->room.start &&
               write.start + write.size <= kernel->room.start + kernel->room.size,
           "writes stay in its room");
  expect(kernel->setup_header.size() <= bytes.size(), "the header is the image's");
  const auto initrd = load_initrd(memory, bytes, "fuzz", *kernel);
  if (initrd)
    expect(contains(memory.ranges(), initrd->start, initrd->size) && apart(*initrd, kernel->room) &&
               initrd->start + initrd->size <= kernel->initrd_end,
           "the initrd is in RAM, where the kernel allows, and clear of it");
  return 0;
}
