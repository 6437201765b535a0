// Kernel interface newer than the oldest headers that slat builds with (Linux 6.1). Lower-case
// names, so that they live beside the macros of newer headers, and are checked against them there.
// Nothing here may be assumed: each entry says how it is probed at run time.
#pragma once

#include "kvm/uapi.hpp"

#include <cstdint>

namespace slat::kvm::uapi {

// userfaultfd features. Probed: offered by UFFDIO_API, see Userfaultfd::offered().
inline constexpr std::uint64_t uffd_feature_wp_unpopulated = 1ull << 13; // Linux 6.4
inline constexpr std::uint64_t uffd_feature_poison = 1ull << 14;         // Linux 6.6
inline constexpr std::uint64_t uffd_feature_wp_async = 1ull << 15;       // Linux 6.7
inline constexpr std::uint64_t uffd_feature_move = 1ull << 16;           // Linux 6.8

// Linux 6.4; has no feature bit: an older kernel answers EINVAL.
inline constexpr std::uint64_t uffdio_continue_mode_wp = 1ull << 1;

// Linux 6.6. Probed: bit uffdio_poison_nr of the mask that register_range() returns.
struct UffdioPoison {
  uffdio_range range;
  std::uint64_t mode;
  std::int64_t updated; // out: bytes, or -errno
};

inline constexpr unsigned uffdio_poison_nr = 0x08;
inline constexpr std::uint64_t uffdio_poison_mode_dontwake = 1;
inline constexpr unsigned long uffdio_poison = _IOWR(UFFDIO, uffdio_poison_nr, UffdioPoison);

// Linux 6.8. Probed: bit uffdio_move_nr of the mask that register_range() returns.
struct UffdioMove {
  std::uint64_t dst;
  std::uint64_t src;
  std::uint64_t len;
  std::uint64_t mode;
  std::int64_t move; // out: bytes, or -errno
};

inline constexpr unsigned uffdio_move_nr = 0x05;
inline constexpr std::uint64_t uffdio_move_mode_dontwake = 1;
inline constexpr std::uint64_t uffdio_move_mode_allow_src_holes = 2;
inline constexpr unsigned long uffdio_move = _IOWR(UFFDIO, uffdio_move_nr, UffdioMove);

// Linux 6.8. Probed: check_extension(kvm_cap_memory_fault_info). KVM_RUN then fails with EFAULT or
// EHWPOISON *and* fills kvm_run with this exit reason and structure.
inline constexpr int kvm_cap_memory_fault_info = 232;
inline constexpr std::uint32_t kvm_exit_memory_fault = 39;
inline constexpr std::uint64_t kvm_memory_exit_flag_private = 1ull << 3;

struct KvmMemoryFault {
  std::uint64_t flags;
  std::uint64_t gpa;
  std::uint64_t size;
};

inline constexpr int kvm_cap_guest_memfd = 234;      // Linux 6.8, probed by check_extension()
inline constexpr int kvm_cap_pre_fault_memory = 236; // Linux 6.11, probed by check_extension()

static_assert(uffdio_poison == 0xC020AA08 && uffdio_move == 0xC028AA05);
static_assert(sizeof(KvmMemoryFault) == 24);

#ifdef UFFD_FEATURE_WP_UNPOPULATED
static_assert(uffd_feature_wp_unpopulated == UFFD_FEATURE_WP_UNPOPULATED);
#endif
#ifdef UFFD_FEATURE_POISON
static_assert(uffd_feature_poison == UFFD_FEATURE_POISON);
#endif
#ifdef UFFD_FEATURE_WP_ASYNC
static_assert(uffd_feature_wp_async == UFFD_FEATURE_WP_ASYNC);
#endif
#ifdef UFFD_FEATURE_MOVE
static_assert(uffd_feature_move == UFFD_FEATURE_MOVE);
#endif
#ifdef UFFDIO_CONTINUE_MODE_WP
static_assert(uffdio_continue_mode_wp == UFFDIO_CONTINUE_MODE_WP);
#endif
#ifdef UFFDIO_POISON
static_assert(uffdio_poison == UFFDIO_POISON);
#endif
#ifdef UFFDIO_MOVE
static_assert(uffdio_move == UFFDIO_MOVE);
#endif
#ifdef KVM_CAP_MEMORY_FAULT_INFO
static_assert(kvm_cap_memory_fault_info == KVM_CAP_MEMORY_FAULT_INFO);
#endif
#ifdef KVM_EXIT_MEMORY_FAULT
static_assert(kvm_exit_memory_fault == KVM_EXIT_MEMORY_FAULT);
#endif
#ifdef KVM_CAP_GUEST_MEMFD
static_assert(kvm_cap_guest_memfd == KVM_CAP_GUEST_MEMFD);
#endif
#ifdef KVM_CAP_PRE_FAULT_MEMORY
static_assert(kvm_cap_pre_fault_memory == KVM_CAP_PRE_FAULT_MEMORY);
#endif

} // namespace slat::kvm::uapi
