// Any bytes as a kernel image: loaded within RAM, or refused in one line with nothing written.
#include "expect.hpp"
#include "fake_guest_memory.hpp"
#include "vmm/elf_loader.hpp"

using namespace slat::vmm;

namespace {

void check_refusal(const Error& error, const FakeGuestMemory& memory) {
  expect(error.code == Errc::bad_image, "a refusal says bad_image");
  expect(!error.message.empty() && error.message.find('\n') == std::string::npos,
         "its message is one line");
  expect(memory.writes().empty(), "a refused image writes nothing");
}

void check_kernel(const LoadedKernel& kernel, const FakeGuestMemory& memory) {
  expect(kernel.image_start >= high_ram_start, "nothing is loaded below 1 MiB");
  expect(kernel.entry >= kernel.image_start && kernel.entry < kernel.image_end,
         "the entry is in the image");
  for (const auto& write : memory.writes()) {
    expect(write.start >= kernel.image_start && write.start + write.size <= kernel.image_end,
           "writes stay in the image");
  }
  if (kernel.notes.mailbox) {
    expect(*kernel.notes.mailbox % guest_page_size == 0, "the mailbox is aligned");
    expect(contains(memory.ranges(), *kernel.notes.mailbox, guest_page_size),
           "the mailbox is in RAM");
  }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Little RAM, so that a run is fast, in ranges that touch, with a hole and above 4 GiB.
  static FakeGuestMemory memory(std::vector<GpaRange>{
      {0, 0x120000}, {0x120000, 0x10000}, {0x200000, 0x10000}, {4 * gib, 0x10000}});
  memory.reset();
  const auto kernel = load_elf(memory, std::as_bytes(std::span(data, size)), "fuzz");
  if (kernel)
    check_kernel(*kernel, memory);
  else
    check_refusal(kernel.error(), memory);
  return 0;
}
