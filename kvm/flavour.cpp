#include "kvm/flavour.hpp"

#include <fstream>
#include <optional>
#include <system_error>

namespace slat::kvm {

namespace {

bool is_there(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

// Module parameters are printed as Y/N, and as 1/0 where they are integers.
std::optional<bool> read_switch(const std::filesystem::path& path) {
  std::ifstream file(path);
  char c = 0;
  if (!file.get(c)) return std::nullopt;
  if (c == 'Y' || c == '1') return true;
  if (c == 'N' || c == '0') return false;
  return std::nullopt;
}

Flavour by_switch(const std::filesystem::path& path, Flavour on, Flavour off) {
  const std::optional<bool> value = read_switch(path);
  if (!value) return Flavour::unknown;
  return *value ? on : off;
}

} // namespace

Flavour detect_flavour(const std::filesystem::path& modules) {
  // One vendor module at most can be in charge, so the order does not matter. Built-in modules are
  // here too.
  if (is_there(modules / "kvm_intel"))
    return by_switch(modules / "kvm_intel/parameters/ept", Flavour::intel_ept,
                     Flavour::intel_shadow);
  if (is_there(modules / "kvm_amd"))
    return by_switch(modules / "kvm_amd/parameters/npt", Flavour::amd_npt, Flavour::amd_shadow);
  if (is_there(modules / "kvm_pvm")) return Flavour::pvm;
  return is_there(modules) && !is_there(modules / "kvm") ? Flavour::absent : Flavour::unknown;
}

std::string_view to_string(Flavour flavour) {
  switch (flavour) {
  case Flavour::absent:
    return "absent";
  case Flavour::intel_ept:
    return "intel_ept";
  case Flavour::intel_shadow:
    return "intel_shadow";
  case Flavour::amd_npt:
    return "amd_npt";
  case Flavour::amd_shadow:
    return "amd_shadow";
  case Flavour::pvm:
    return "pvm";
  case Flavour::unknown:
    break;
  }
  return "unknown";
}

std::string_view describe(Flavour flavour) {
  switch (flavour) {
  case Flavour::absent:
    return "no KVM: load kvm_intel or kvm_amd, or use the software accelerator";
  case Flavour::intel_ept:
    return "Intel VMX with extended page tables";
  case Flavour::intel_shadow:
    return "Intel VMX with shadow paging, slow: reload kvm_intel with ept=1";
  case Flavour::amd_npt:
    return "AMD SVM with nested page tables";
  case Flavour::amd_shadow:
    return "AMD SVM with shadow paging, slow: reload kvm_amd with npt=1";
  case Flavour::pvm:
    return "page-table virtualisation (pvm): shadow paging, guest kernel code is emulated; small "
           "guests run, a stock Linux kernel does not, and the dirty ring must not be used";
  case Flavour::unknown:
    break;
  }
  return "KVM of an unknown kind: /sys/module does not tell which";
}

bool has_nested_paging(Flavour flavour) {
  return flavour == Flavour::intel_ept || flavour == Flavour::amd_npt;
}

bool runs_kernel_mode_natively(Flavour flavour) {
  switch (flavour) {
  case Flavour::intel_ept:
  case Flavour::intel_shadow:
  case Flavour::amd_npt:
  case Flavour::amd_shadow:
    return true;
  case Flavour::absent:
  case Flavour::pvm:
  case Flavour::unknown:
    break;
  }
  return false;
}

bool has_working_dirty_ring(Flavour flavour) {
  return runs_kernel_mode_natively(flavour);
}

} // namespace slat::kvm
