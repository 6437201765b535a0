// The part of the doctor's examination that asks the kernel: devices, memfd, limits.
#include "kvm/mapping.hpp"
#include "kvm/system.hpp"
#include "kvm/uapi_newer.hpp"
#include "slat/doctor_facts.hpp"
#include "vmm/seccomp.hpp"

#include <cerrno>
#include <fcntl.h>
#include <grp.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace slat::tool {

namespace {

constexpr std::size_t page = 4096;

// Newer than some C libraries' headers.
constexpr int madv_populate_write = 23;
constexpr int uffd_user_mode_only = 1;

kvm::Fd one_page_memfd() {
  kvm::Fd fd(::memfd_create("slat-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (fd.valid() && ::ftruncate(fd.get(), page) != 0) {
    const int error = errno;
    fd.reset();
    errno = error;
  }
  return fd;
}

/// The group whose members may open the device; empty where that is nobody, or root's own.
std::string group_with_access(const std::string& device) {
  struct stat info{};
  if (::stat(device.c_str(), &info) != 0) return {};
  if ((info.st_mode & (S_IRGRP | S_IWGRP)) != (S_IRGRP | S_IWGRP) || info.st_gid == 0) return {};
  const group* const entry = ::getgrgid(info.st_gid); // the doctor has one thread
  return entry != nullptr ? entry->gr_name : std::to_string(info.st_gid);
}

void probe_vm(const kvm::System& system, KvmFacts& facts) {
  auto vm = system.create_vm();
  if (!vm) {
    facts.vm_error = std::move(vm.error());
    return;
  }
  if (auto khz = vm->tsc_khz()) {
    facts.tsc_khz = *khz;
  } else if (auto vcpu = vm->create_vcpu(0)) {
    if (auto of_vcpu = vcpu->tsc_khz()) facts.tsc_khz = *of_vcpu;
  }
}

void probe_kvm(const std::string& device, KvmFacts& facts) {
  facts.device = device;
  auto system = kvm::System::open(device);
  if (!system) {
    facts.access_group = group_with_access(device);
    facts.open_error = std::move(system.error());
    return;
  }
  const auto has = [&](int cap) { return system->check_extension(cap) > 0; };
  facts.recommended_vcpus = system->recommended_vcpus();
  facts.max_vcpus = system->max_vcpus();
  facts.memslots = system->max_memslots();
  facts.user_memory = has(KVM_CAP_USER_MEMORY);
  facts.sync_mmu = has(KVM_CAP_SYNC_MMU);
  facts.immediate_exit = has(KVM_CAP_IMMEDIATE_EXIT);
  facts.set_tss_address = has(KVM_CAP_SET_TSS_ADDR);
  facts.manual_dirty_log = has(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);
  facts.dirty_ring = has(KVM_CAP_DIRTY_LOG_RING) || has(KVM_CAP_DIRTY_LOG_RING_ACQ_REL);
  facts.memory_fault_info = has(kvm::uapi::kvm_cap_memory_fault_info);
  facts.guest_memfd = has(kvm::uapi::kvm_cap_guest_memfd);
  probe_vm(*system, facts);
}

std::optional<kvm::Error> cannot_guard(kvm::Userfaultfd& uffd) {
  const kvm::Fd memfd = one_page_memfd();
  const kvm::Mapping view = memfd.valid() ? kvm::Mapping(memfd.get(), page) : kvm::Mapping();
  if (!view.valid()) return std::nullopt; // that is another check's finding
  auto guarded = uffd.register_range(reinterpret_cast<std::uintptr_t>(view.data()), page,
                                     {.missing = true, .minor = true});
  if (!guarded) return std::move(guarded.error());
  return std::nullopt;
}

void probe_userfaultfd(const HostPaths& paths, UffdFacts& facts) {
  facts.device = paths.uffd_device;
  kvm::UffdOptions options;
  options.wanted = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM;
  options.device = paths.uffd_device;
  options.system_call = paths.uffd_system_call;
  auto uffd = kvm::Userfaultfd::open(options);
  if (!uffd) {
    facts.open_error = std::move(uffd.error());
    if (paths.uffd_system_call) {
      const kvm::Fd half(int(::syscall(SYS_userfaultfd, O_CLOEXEC | uffd_user_mode_only)));
      facts.user_mode_only = half.valid();
    }
    return;
  }
  facts.source = uffd->source();
  facts.offered = uffd->offered();
  if ((uffd->enabled() & options.wanted) == options.wanted)
    facts.register_error = cannot_guard(*uffd);
}

void probe_memory(MemoryFacts& facts) {
  const kvm::Fd memfd = one_page_memfd();
  if (!memfd.valid()) {
    facts.memfd = errno;
    return;
  }
  const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  facts.memfd = ::fcntl(memfd.get(), F_ADD_SEALS, seals) == 0 ? 0 : errno;
  if (facts.memfd != 0) return;
  const kvm::Mapping view(memfd.get(), page);
  if (!view.valid()) {
    facts.memfd = errno;
    return;
  }
  facts.populate = ::madvise(view.data(), page, madv_populate_write) == 0 ? 0 : errno;
  const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  facts.punch = ::fallocate(memfd.get(), mode, 0, page) == 0 ? 0 : errno;
}

template <class Resource> std::optional<std::uint64_t> soft_limit(Resource resource) {
  rlimit limit{};
  if (::getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
  return limit.rlim_cur;
}

void probe_limits(LimitFacts& facts) {
  facts.open_files = soft_limit(RLIMIT_NOFILE);
  facts.address_space_bytes = soft_limit(RLIMIT_AS);
  facts.file_size_bytes = soft_limit(RLIMIT_FSIZE);
  facts.locked_bytes = soft_limit(RLIMIT_MEMLOCK);
  facts.processes = soft_limit(RLIMIT_NPROC);
}

void probe_cpu(CpuFacts& facts) {
  cpu_set_t set;
  CPU_ZERO(&set);
  // The mask of a larger machine than cpu_set_t holds is refused; then all that are online count.
  facts.usable =
      unsigned(::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                             : ::sysconf(_SC_NPROCESSORS_ONLN));
  const long commands = ::syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
  facts.membarrier = commands > 0 && (commands & MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0;
  facts.rseq = __rseq_size != 0;
}

} // namespace

HostFacts collect_host_facts(const HostPaths& paths) {
  HostFacts facts = read_host_files(paths);
  probe_kvm(paths.kvm_device, facts.kvm);
  probe_userfaultfd(paths, facts.uffd);
  probe_memory(facts.memory);
  probe_limits(facts.limits);
  probe_cpu(facts.cpu);
  facts.seccomp = {.in_this_build = vmm::seccomp_in_this_build, .error = vmm::why_no_seccomp()};
  return facts;
}

} // namespace slat::tool
