#include "slat/doctor_report.hpp"

#include "kvm/ioctl.hpp"
#include "slat/exit_codes.hpp"

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>

namespace slat::tool {

namespace {

// The oldest kernel that slat is tested on: the nested host's.
constexpr int oldest_major = 6;
constexpr int oldest_minor = 1;

void judge_kernel(const std::string& release, std::vector<Check>& checks) {
  Check check{.area = "host", .name = "kernel", .finding = "Linux " + release};
  unsigned major = 0;
  unsigned minor = 0;
  if (std::sscanf(release.c_str(), "%u.%u", &major, &minor) != 2) {
    check.status = Status::degraded;
    check.finding = "the kernel's version cannot be read";
    check.mend = "mount procfs on /proc";
  } else if (major < oldest_major || (major == oldest_major && minor < oldest_minor)) {
    check.status = Status::degraded;
    check.finding += fmt::format(": older than {}.{}, not tested", oldest_major, oldest_minor);
    check.mend = fmt::format("use Linux {}.{} or later", oldest_major, oldest_minor);
  }
  checks.push_back(std::move(check));
}

void judge_seccomp(const SeccompFacts& facts, std::vector<Check>& checks) {
  Check check{.area = "host",
              .name = "seccomp",
              .finding = "seccomp: ok, each thread is confined to the calls that it needs"};
  if (!facts.in_this_build) {
    check.status = Status::degraded;
    check.finding = "seccomp: off in this build, for sanitizers make system calls of their own";
    check.mend = "use a build without sanitizers";
  } else if (facts.error != 0) {
    check.status = Status::degraded;
    check.finding = fmt::format("seccomp: missing ({}); guests run with --seccomp off alone",
                                kvm::os_error_text(facts.error));
    check.mend = facts.error == EPERM || facts.error == EACCES
                     ? "let the filter of the container pass seccomp(2)"
                     : "use a kernel with CONFIG_SECCOMP_FILTER=y";
  }
  checks.push_back(std::move(check));
}

bool is_missing(const Check& check) {
  return check.status == Status::missing;
}

std::string why_not_linux(const HostFacts& facts, bool own_guests) {
  if (!own_guests) return "something that guests on KVM need is missing, see above";
  if (kvm::runs_kernel_mode_natively(facts.kvm.flavour)) return {};
  if (facts.kvm.flavour == kvm::Flavour::pvm)
    return "this KVM (pvm) emulates ring 0 and lacks instructions that Linux uses there";
  return "it is not known what this KVM does with code of ring 0";
}

} // namespace

std::string_view to_string(Status status) {
  switch (status) {
  case Status::ok:
    return "ok";
  case Status::degraded:
    return "degraded";
  case Status::missing:
    break;
  }
  return "missing";
}

Report judge(const HostFacts& facts) {
  using namespace doctor_detail;
  Report report{.kernel_release = facts.kernel_release, .checks = {}, .verdict = {}};
  std::vector<Check>& checks = report.checks;
  judge_kvm(facts, checks);
  checks.push_back({.area = "soft",
                    .name = "vcpu",
                    .finding =
                        "--accel soft runs slat's own guests on software vCPUs, and auto does "
                        "where KVM or userfaultfd is missing"});
  judge_userfaultfd(facts.uffd, checks);
  judge_memory(facts.memory, checks);
  judge_limits(facts.limits, checks);
  judge_cpu(facts.cpu, checks);
  judge_kernel(facts.kernel_release, checks);
  judge_seccomp(facts.seccomp, checks);

  Verdict& verdict = report.verdict;
  for (const Check& check : checks) verdict.status = std::max(verdict.status, check.status);
  verdict.boots_own_guests = std::none_of(checks.begin(), checks.end(), is_missing);
  verdict.serves_faults = std::none_of(checks.begin(), checks.end(), [](const Check& check) {
    return is_missing(check) && (check.area == "userfaultfd" || check.area == "memory");
  });
  verdict.boots_in_software = std::none_of(checks.begin(), checks.end(), [](const Check& check) {
    return is_missing(check) && check.area == "memory";
  });
  verdict.why_not_linux = why_not_linux(facts, verdict.boots_own_guests);
  verdict.boots_linux = verdict.why_not_linux.empty();
  return report;
}

int exit_code_of(const Report& report) {
  int code = exit_success;
  for (const Check& check : report.checks) {
    if (!is_missing(check)) continue;
    if (!check.permission) return exit_unavailable;
    code = exit_no_permission;
  }
  return code;
}

std::string human_bytes(std::uint64_t bytes) {
  constexpr struct {
    unsigned shift;
    const char* name;
  } units[] = {{40, "TiB"}, {30, "GiB"}, {20, "MiB"}, {10, "KiB"}};

  for (const auto& [shift, name] : units) {
    if (bytes >> shift == 0) continue;
    const double value = double(bytes) / double(std::uint64_t(1) << shift);
    // A tenth is worth saying below ten, and nowhere if it is 0.
    std::string text = fmt::format("{:.{}f}", value, value < 9.95 ? 1 : 0);
    if (text.ends_with(".0")) text.resize(text.size() - 2);
    return fmt::format("{} {}", text, name);
  }
  return fmt::format("{} bytes", bytes);
}

doctor_detail::Parts doctor_detail::parts_of(const kvm::Error& error, std::string_view mend) {
  const std::size_t cut = error.message.find("; ");
  if (cut == std::string::npos) return {error.message, std::string(mend)};
  return {error.message.substr(0, cut), error.message.substr(cut + 2)};
}

} // namespace slat::tool
