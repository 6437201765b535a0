// What guest images and their host agree on: ports, ELF notes, exit codes and the mailbox page.
// Included by both sides: no header but <cstdint> and <cstddef>, nothing that needs a library.
#pragma once

#include <cstddef>
#include <cstdint>

namespace slat::guest {

inline constexpr std::uint64_t page_size = 4096;         // bytes
inline constexpr std::uint64_t image_base = 1024 * 1024; // where own images are linked, GPA

// Ports.
inline constexpr std::uint16_t serial_port = 0x3f8;      // 16550: data
inline constexpr std::uint16_t serial_lsr_port = 0x3fd;  // line status
inline constexpr std::uint8_t serial_lsr_ready = 1 << 5; // the transmitter takes another 16 bytes
inline constexpr std::uint16_t exit_port = 0xf4; // a 32-bit write of 0..255 ends the machine

/// CPUID leaf whose EAX is the TSC frequency in kHz; outside of this range it counts as unknown,
/// because an unknown leaf may answer with another leaf's content.
inline constexpr std::uint32_t cpuid_tsc_leaf = 0x40000010;
inline constexpr std::uint32_t tsc_khz_min = 100'000;
inline constexpr std::uint32_t tsc_khz_max = 20'000'000;

// ELF notes (PT_NOTE) of own images. The owner's name is "slat", its size 5 with the terminating
// zero.
inline constexpr char note_owner[] = "slat";
inline constexpr std::uint32_t note_flags = 1;                // desc: u32, the flags below
inline constexpr std::uint32_t note_mailbox = 2;              // desc: u64, GPA of the mailbox page
inline constexpr std::uint32_t note_flag_every_vcpu = 1 << 0; // every vCPU starts at e_entry

/// The value written to exit_port. `hello exit=N` uses any of 0..255.
enum ExitCode : std::uint32_t {
  exit_good = 0,
  exit_mismatch = 1,  // a page or a counter did not hold what was written to it
  exit_counters = 2,  // the shared counters do not add up to what the vCPUs added
  exit_parameter = 3, // unknown or malformed word on the command line, or one that cannot be met
  exit_boot =
      4, // the boot contract is broken: no usable e820 table, RAM not mapped, too many vCPUs
  exit_exception = 5, // a CPU exception in the guest; it is printed on the serial port
};

/// What was wrong with a page.
enum class Kind : std::uint32_t {
  none = 0,
  zeroed = 1,  // zeroes where the pattern should be: all of the page, or whole cache lines
  stale = 2,   // the whole page is an older generation of itself
  lost = 3,    // part of the page is of another generation, or the expectation missed a write
  foreign = 4, // words of another page
  corrupt = 5, // words that nobody wrote
  counter = 6, // a shared counter ran backwards, lost its label or does not add up
};

enum class GuestState : std::uint32_t {
  loaded = 0, // set by the image file: nothing has run yet
  starting = 1,
  initialising = 2,
  running = 3,
  verifying = 4,
  done = 5,
  refused = 6, // exit_parameter or exit_boot
  crashed = 7, // exit_exception
};

inline constexpr std::uint64_t mailbox_magic = 0x31786f426c73; // "slBox1"
inline constexpr std::uint32_t mailbox_version = 3;
inline constexpr std::uint32_t max_vcpus = 60; // one slot each

/// Progress of one vCPU. Written by it alone, relaxed: each field only grows, but no two fields are
/// a snapshot.
struct alignas(64) VcpuSlot {
  std::uint64_t pages;      // page visits, initialisation and verification included
  std::uint64_t passes;     // whole rounds over the vCPU's share
  std::uint64_t accesses;   // loads, stores and locked operations on tested memory
  std::uint64_t verified;   // page visits that compared the page
  std::uint64_t mismatches; // of those, the ones that found it wrong; bad counters too
  std::uint64_t counted;    // what this vCPU has added to shared counters
  std::uint32_t state;      // GuestState
  std::uint32_t discarded;  // pages that were given up, and read as zero once the host had said so
  std::uint64_t given_up;   // give_up_request() of the last page given up; 0: none so far
};

/// A page that a vCPU gives up (a balloon of one page): the page number, and a number that counts the vCPU's
/// requests from 1. Until the host acknowledges it, by the low byte of that number in Mailbox::discarded, the
/// guest only reads the page; each word is what it was, or zero. Then every word is zero (I39), and the page is
/// the guest's again. One request of a vCPU at a time.
[[nodiscard]] constexpr std::uint64_t give_up_request(std::uint32_t page, std::uint32_t sequence) {
  return std::uint64_t{page} << 32 | sequence;
}

/// The first mismatch of the run. Valid once `valid` is 1: load it with acquire, which pairs with
/// the guest's release store after every other field.
struct alignas(64) MismatchRecord {
  std::uint64_t guest_address; // of the page
  std::uint64_t expected;      // the 8-byte word at `offset`
  std::uint64_t found;
  std::uint64_t found_page;       // page number that the found word belongs to, or 0
  std::uint32_t kind;             // Kind
  std::uint32_t vcpu;             // who saw it
  std::uint32_t generation;       // expected
  std::uint32_t found_generation; // of the found word, or 0
  std::uint32_t offset;           // bytes into the page
  std::uint32_t transient;        // 1: reading the page again gave the right content
  std::uint32_t claim;            // guest only: 1 once a vCPU owns the record
  std::uint32_t valid;
};

/// The mailbox page. Every field is read and written with the atomics below.
struct alignas(4096) Mailbox {
  std::uint64_t magic; // in the image file, so it holds before the guest runs
  std::uint32_t version;
  std::uint32_t state; // GuestState
  std::uint32_t vcpu_count;
  std::uint32_t exit_code;      // valid when state is done or refused
  std::uint64_t tested_pages;   // shared ones included
  std::uint64_t shared_pages;   // of which
  std::uint64_t shared_sum;     // at the end: the sum of all shared counters ...
  std::uint64_t shared_counted; // ... and what the vCPUs say they added
  std::uint64_t tsc_khz;        // 0: unknown

  // The host's own cache line.
  alignas(64) std::uint32_t stop_request; // 1: finish, verify and exit
  std::uint32_t
      corrupt_request; // a Kind: damage memory in that way, once; the guest sets it back to 0
  std::uint32_t
      touch_writes; // mode=touch: 1: visits write what is there already, and compare nothing

  MismatchRecord first_mismatch;
  VcpuSlot slots[max_vcpus];

  // The host's too.
  alignas(64) std::uint8_t discarded[max_vcpus]; // see give_up_request(), for each vCPU
};

static_assert(sizeof(VcpuSlot) == 64 && offsetof(VcpuSlot, state) == 48);
static_assert(sizeof(MismatchRecord) == 64 && offsetof(MismatchRecord, valid) == 60);
static_assert(sizeof(Mailbox) == page_size && alignof(Mailbox) == page_size);
static_assert(offsetof(Mailbox, state) == 12 && offsetof(Mailbox, tsc_khz) == 56);
static_assert(offsetof(Mailbox, stop_request) == 64 && offsetof(Mailbox, corrupt_request) == 68);
static_assert(offsetof(Mailbox, first_mismatch) == 128 && offsetof(Mailbox, slots) == 192);
static_assert(offsetof(VcpuSlot, given_up) == 56 && offsetof(Mailbox, discarded) == 4032);

// Access to fields that the other side, or another vCPU, uses at the same time. Integers only.
template <class T> [[nodiscard]] inline T load_relaxed(const T& field) {
  return __atomic_load_n(&field, __ATOMIC_RELAXED);
}

template <class T> [[nodiscard]] inline T load_acquire(const T& field) {
  return __atomic_load_n(&field, __ATOMIC_ACQUIRE); // pairs with store_release
}

template <class T> inline void store_relaxed(T& field, T value) {
  __atomic_store_n(&field, value, __ATOMIC_RELAXED);
}

template <class T> inline void store_release(T& field, T value) {
  __atomic_store_n(&field, value, __ATOMIC_RELEASE); // pairs with load_acquire
}

/// For a field that one thread alone writes and others only watch.
inline void add_own(std::uint64_t& field, std::uint64_t amount) {
  store_relaxed(field, load_relaxed(field) + amount);
}

[[nodiscard]] constexpr const char* to_string(Kind kind) {
  switch (kind) {
  case Kind::none:
    return "none";
  case Kind::zeroed:
    return "zeroed";
  case Kind::stale:
    return "stale";
  case Kind::lost:
    return "lost";
  case Kind::foreign:
    return "foreign";
  case Kind::corrupt:
    return "corrupt";
  case Kind::counter:
    return "counter";
  }
  return "unknown";
}

} // namespace slat::guest
