// What the doctor makes of KVM and userfaultfd.
#include "kvm/uapi_newer.hpp"
#include "slat/doctor_report.hpp"

#include <fmt/format.h>

namespace slat::tool::doctor_detail {

namespace {

constexpr unsigned wanted_memslots = 32; // one a region today; hotplug and devices take more

std::string mend_absent_kvm(const HostFacts& facts) {
  if (facts.kvm.device != "/dev/kvm")
    return "check --kvm-device; the usual path is /dev/kvm, which is the default";
  if (facts.cpu.vmx)
    return "modprobe kvm_intel; if that fails, enable virtualisation in the firmware";
  if (facts.cpu.svm)
    return "modprobe kvm_amd; if that fails, enable virtualisation in the firmware";
  return "this CPU shows neither VMX nor SVM: enable virtualisation in the firmware, or nested "
         "virtualisation in the hypervisor below; or use another host";
}

std::string mend_kvm_permission(const KvmFacts& kvm) {
  if (!kvm.access_group.empty())
    return fmt::format("usermod -aG {} $USER and log in again, or run as root", kvm.access_group);
  return fmt::format("run as root, or let this user in: setfacl -m u:$USER:rw {}", kvm.device);
}

Check opening(const HostFacts& facts) {
  const KvmFacts& kvm = facts.kvm;
  Check check{.area = "kvm", .name = "device"};
  if (!kvm.open_error) {
    check.finding = fmt::format("{} opens, API version {}", kvm.device, KVM_API_VERSION);
    return check;
  }
  check.status = Status::missing;
  Parts parts = parts_of(*kvm.open_error, "see dmesg for what KVM says about it");
  check.finding = std::move(parts.finding);
  check.mend = std::move(parts.mend);
  if (kvm.open_error->code == kvm::Errc::no_permission) {
    check.permission = true;
    check.mend = mend_kvm_permission(kvm);
  } else if (kvm.open_error->code == kvm::Errc::no_device) {
    check.mend = mend_absent_kvm(facts);
  }
  return check;
}

Check paging(kvm::Flavour flavour) {
  Check check{.area = "kvm", .name = "paging", .finding = std::string(describe(flavour))};
  if (has_nested_paging(flavour)) return check;
  check.status = Status::degraded;
  switch (flavour) {
  case kvm::Flavour::intel_shadow:
  case kvm::Flavour::amd_shadow:
    check.finding =
        fmt::format("shadow paging ({}): every guest runs, but stage-2 changes are slow",
                    kvm::to_string(flavour));
    check.mend = flavour == kvm::Flavour::intel_shadow
                     ? "with no guest running: modprobe -r kvm_intel; modprobe kvm_intel ept=1"
                     : "with no guest running: modprobe -r kvm_amd; modprobe kvm_amd npt=1";
    break;
  case kvm::Flavour::pvm:
    check.finding = "shadow paging without VMX or SVM (kvm_pvm): slat's own guests run; guest code "
                    "of ring 0 is emulated slowly, a stock Linux kernel does not boot";
    check.mend = "for Linux guests use a host with VMX or SVM, or a nested one";
    break;
  default:
    check.finding = "/sys/module does not tell which KVM this is";
    check.mend = "mount sysfs on /sys; EPT and NPT are what slat is made for";
    break;
  }
  return check;
}

Check needed(std::string_view name, bool there, std::string_view capability, std::string_view use) {
  Check check{.area = "kvm", .name = name, .finding = fmt::format("{}: {}", capability, use)};
  if (there) return check;
  check.status = Status::missing;
  check.finding = fmt::format("no {}: {}", capability, use);
  check.mend = "use Linux 6.1 or later";
  return check;
}

Check dirty_tracking(const KvmFacts& kvm) {
  Check check{.area = "kvm", .name = "dirty_log", .finding = "dirty log, cleared by hand"};
  if (kvm.manual_dirty_log) return check;
  check.status = Status::degraded;
  check.finding =
      "dirty log without KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: reading it stalls the guest";
  check.mend = "use Linux 5.0 or later";
  return check;
}

Check dirty_ring(const KvmFacts& kvm) {
  Check check{.area = "kvm", .name = "dirty_ring", .finding = "dirty ring offered"};
  if (!kvm.dirty_ring) {
    check.status = Status::degraded;
    check.finding = "no dirty ring: dirty tracking goes by the dirty log";
    check.mend = "use Linux 5.11 or later";
  } else if (!has_working_dirty_ring(kvm.flavour)) {
    check.status = Status::degraded;
    check.finding = "dirty ring offered, but must not be used on this KVM: KVM_RUN would return at "
                    "once for ever";
    check.mend = "none needed for slat, which takes the dirty log here";
  }
  return check;
}

Check memory_fault(const KvmFacts& kvm) {
  Check check{.area = "kvm",
              .name = "memory_fault_info",
              .finding = "KVM_CAP_MEMORY_FAULT_INFO: failed guest accesses carry their address"};
  if (kvm.memory_fault_info) return check;
  check.status = Status::degraded;
  check.finding = "no KVM_CAP_MEMORY_FAULT_INFO: crash reports lack the address of a failed access";
  check.mend = "use Linux 6.8 or later";
  return check;
}

struct Feature {
  std::uint64_t bit;
  const char* name;
  const char* without; // what is then missing
  const char* since;
};

constexpr Feature optional_features[] = {
    {UFFD_FEATURE_WP_HUGETLBFS_SHMEM, "WP_HUGETLBFS_SHMEM",
     "guest memory cannot be write-protected; dirty pages are known by KVM's log only", "5.19"},
    {UFFD_FEATURE_THREAD_ID, "THREAD_ID",
     "faults of several vCPUs look like one stream; less is read ahead", "4.14"},
    {UFFD_FEATURE_EXACT_ADDRESS, "EXACT_ADDRESS", "faults are reported by page, not by byte",
     "5.18"},
    {kvm::uapi::uffd_feature_poison, "POISON",
     "a page that cannot be filled ends the guest without an error at the access", "6.6"},
    {kvm::uapi::uffd_feature_move, "MOVE", "private pages cannot be installed without a copy",
     "6.8"},
    {kvm::uapi::uffd_feature_wp_unpopulated, "WP_UNPOPULATED",
     "empty private pages cannot be write-protected", "6.4"},
    {kvm::uapi::uffd_feature_wp_async, "WP_ASYNC",
     "each first write to a protected page is a message to serve", "6.7"},
};

void judge_features(std::uint64_t offered, std::vector<Check>& checks) {
  constexpr std::uint64_t required = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM;
  Check shmem{.area = "userfaultfd",
              .name = "shmem",
              .finding = "MISSING_SHMEM and MINOR_SHMEM: faults on a memfd can be served"};
  if ((offered & required) != required) {
    shmem.status = Status::missing;
    shmem.finding =
        fmt::format("no {}: faults on a memfd cannot be served",
                    (offered & UFFD_FEATURE_MISSING_SHMEM) == 0 ? "MISSING_SHMEM" : "MINOR_SHMEM");
    shmem.mend = "use Linux 5.14 or later";
  }
  checks.push_back(std::move(shmem));

  std::string there;
  for (const Feature& feature : optional_features)
    if ((offered & feature.bit) != 0)
      there += fmt::format("{}{}", there.empty() ? "" : " ", feature.name);
  checks.push_back({.area = "userfaultfd",
                    .name = "features",
                    .finding = there.empty() ? "no optional feature" : "also " + there});
  for (const Feature& feature : optional_features)
    if ((offered & feature.bit) == 0)
      checks.push_back({.area = "userfaultfd",
                        .name = feature.name,
                        .status = Status::degraded,
                        .finding = fmt::format("no {}: {}", feature.name, feature.without),
                        .mend = fmt::format("use Linux {} or later", feature.since)});
}

} // namespace

void judge_kvm(const HostFacts& facts, std::vector<Check>& checks) {
  const KvmFacts& kvm = facts.kvm;
  checks.push_back(opening(facts));
  if (kvm.open_error) return; // nothing more can be asked
  if (kvm.vm_error) {
    Parts parts = parts_of(*kvm.vm_error, "see dmesg for what KVM says about it");
    checks.push_back({.area = "kvm",
                      .name = "vm",
                      .status = Status::missing,
                      .finding = "no VM can be made: " + parts.finding,
                      .mend = std::move(parts.mend),
                      .permission = kvm.vm_error->code == kvm::Errc::no_permission});
  }
  checks.push_back(paging(kvm.flavour));
  checks.push_back({.area = "kvm",
                    .name = "vcpus",
                    .finding = fmt::format("vCPUs: {} recommended, {} at most",
                                           kvm.recommended_vcpus, kvm.max_vcpus)});
  Check slots{
      .area = "kvm", .name = "memslots", .finding = fmt::format("{} memory slots", kvm.memslots)};
  if (kvm.memslots < wanted_memslots) {
    slots.status = Status::degraded;
    slots.finding += ": enough for small guests only";
    slots.mend = "use Linux 6.1 or later";
  }
  checks.push_back(std::move(slots));
  checks.push_back(
      needed("user_memory", kvm.user_memory, "USER_MEMORY", "guest memory is this process' own"));
  checks.push_back(
      needed("sync_mmu", kvm.sync_mmu, "SYNC_MMU", "what the host unmaps, the guest loses"));
  checks.push_back(needed("immediate_exit", kvm.immediate_exit, "IMMEDIATE_EXIT",
                          "a vCPU can be stopped at any time"));
  checks.push_back(needed("set_tss_address", kvm.set_tss_address, "SET_TSS_ADDR",
                          "KVM gets pages of its own below 4 GiB"));
  checks.push_back(dirty_tracking(kvm));
  checks.push_back(dirty_ring(kvm));
  checks.push_back(memory_fault(kvm));
  checks.push_back({.area = "kvm",
                    .name = "guest_memfd",
                    .finding = kvm.guest_memfd ? "guest_memfd offered (slat does not use it)"
                                               : "no guest_memfd (slat does not use it)"});
  Check tsc{.area = "kvm", .name = "tsc"};
  if (kvm.tsc_khz && *kvm.tsc_khz != 0) {
    tsc.finding = fmt::format("guest TSC: {} kHz", *kvm.tsc_khz);
  } else {
    tsc.status = Status::degraded;
    tsc.finding = "KVM_GET_TSC_KHZ gives no answer: guests print no times";
    tsc.mend = "use a host with an invariant TSC";
  }
  checks.push_back(std::move(tsc));
}

void judge_userfaultfd(const UffdFacts& facts, std::vector<Check>& checks) {
  Check open{.area = "userfaultfd", .name = "open"};
  if (facts.open_error) {
    open.status = Status::missing;
    open.permission = facts.open_error->code == kvm::Errc::no_permission;
    Parts parts = parts_of(*facts.open_error, "see the manual page userfaultfd(2)");
    // The area says the word already.
    constexpr std::string_view prefix = "userfaultfd: ";
    open.finding = parts.finding.starts_with(prefix) ? parts.finding.substr(prefix.size())
                                                     : std::move(parts.finding);
    if (open.permission && facts.unprivileged)
      open.finding += fmt::format(" (vm.unprivileged_userfaultfd={})", *facts.unprivileged);
    if (facts.user_mode_only)
      open.finding += "; faults of user mode alone are allowed, but KVM's are the kernel's";
    open.mend = std::move(parts.mend);
    checks.push_back(std::move(open));
    return;
  }
  open.finding = facts.source == kvm::Userfaultfd::Source::device
                     ? fmt::format("opened through {}, handles faults of the kernel", facts.device)
                     : "opened by userfaultfd(2), handles faults of the kernel";
  checks.push_back(std::move(open));
  judge_features(facts.offered, checks);
  if (!facts.register_error) return;
  Parts parts = parts_of(*facts.register_error, "use Linux 5.14 or later");
  checks.push_back({.area = "userfaultfd",
                    .name = "register",
                    .status = Status::missing,
                    .finding = "a memfd cannot be guarded: " + parts.finding,
                    .mend = std::move(parts.mend)});
}

} // namespace slat::tool::doctor_detail
