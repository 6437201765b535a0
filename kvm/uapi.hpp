// The one door to the kernel's KVM and userfaultfd headers. Include this, never <linux/kvm.h>.
//
// Why: the __DECLARE_FLEX_ARRAY of kernels up to 6.4 (Debian 12 has 6.1) wraps each flexible array
// in a struct with an empty member, which has size 0 in C and size 1 in C++. Every structure that
// ends in such an array is then laid out wrongly, and as the size is part of an ioctl's number the
// kernel answers EINVAL or ENOTTY. The macro is replaced before the headers that use it are read.
#pragma once

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"

#include <linux/stddef.h>
#undef __DECLARE_FLEX_ARRAY
// NOLINTNEXTLINE(bugprone-reserved-identifier): the kernel's name is what has to be replaced.
#define __DECLARE_FLEX_ARRAY(TYPE, NAME) __extension__ TYPE NAME[0]

#include <linux/kvm.h>
#include <linux/userfaultfd.h>

#pragma GCC diagnostic pop

#include <cstddef>

// Fails when <linux/kvm.h> was included before this header: the fix came too late.
static_assert(sizeof(kvm_cpuid2) == 8 && offsetof(kvm_cpuid2, entries) == 8,
              "include kvm/uapi.hpp before any header that includes <linux/kvm.h>");
static_assert(sizeof(kvm_msrs) == 8 && offsetof(kvm_msrs, entries) == 8);
static_assert(sizeof(kvm_msr_list) == 4 && offsetof(kvm_msr_list, indices) == 4);
static_assert(sizeof(kvm_signal_mask) == 4 && offsetof(kvm_signal_mask, sigset) == 4);
static_assert(sizeof(kvm_irq_routing) == 8 && sizeof(kvm_reg_list) == 8);
static_assert(sizeof(kvm_xsave) == 4096);
static_assert(sizeof(uffd_msg) == 32);
