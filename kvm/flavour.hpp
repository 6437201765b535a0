// Which implementation of KVM this host runs, and what that means for a guest memory manager.
#pragma once

#include <filesystem>
#include <string_view>

namespace slat::kvm {

enum class Flavour {
  absent,       // no KVM vendor module is loaded
  intel_ept,    // VMX with extended page tables
  intel_shadow, // VMX, shadow paging: ept=N
  amd_npt,      // SVM with nested page tables
  amd_shadow,   // SVM, shadow paging: npt=N
  pvm, // page-table virtualisation without VMX or SVM: shadow paging, ring 0 of the guest emulated
  unknown, // KVM is there, and is none of the above, or sysfs does not tell
};

/// Reads the modules' parameters. `modules` is /sys/module but in tests. Never fails: what cannot
/// be read is `unknown`. Reads files, so it may sleep.
[[nodiscard]] Flavour detect_flavour(const std::filesystem::path& modules = "/sys/module");

/// The enumerator's name.
[[nodiscard]] std::string_view to_string(Flavour flavour);

/// One sentence for a person, with the mend where there is one; no trailing newline.
[[nodiscard]] std::string_view describe(Flavour flavour);

/// The processor walks the guest's and KVM's tables; a stage-2 change costs no shadow page.
[[nodiscard]] bool has_nested_paging(Flavour flavour);

/// Guest code at CPL 0 runs on the processor. Where not, it is emulated one instruction at a time,
/// many instructions end the run with an emulation error, and a stock Linux guest does not boot.
[[nodiscard]] bool runs_kernel_mode_natively(Flavour flavour);

/// The dirty ring can be trusted. Under pvm KVM_RUN returns at once for ever when it is on.
[[nodiscard]] bool has_working_dirty_ring(Flavour flavour);

} // namespace slat::kvm
