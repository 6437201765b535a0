#!/usr/bin/env bash
# Boots a small Linux with KVM under QEMU, which emulates AMD's SVM with nested paging in software, and runs one command
# in it: real KVM over two-dimensional page tables, on any machine.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../packages.sh
. "$(dirname "${BASH_SOURCE[0]}")/../packages.sh"
# shellcheck source-path=SCRIPTDIR source=kernel.sh
. "$slat_root/tools/nested/kernel.sh"
# shellcheck source-path=SCRIPTDIR source=root.sh
. "$slat_root/tools/nested/root.sh"

usage() {
  cat <<'HELP'
Usage: run.sh [OPTION ...] [--] COMMAND [ARGUMENT ...]
Runs COMMAND as root in a nested host: Debian's cloud kernel with KVM, nested
paging and userfaultfd, and no disk or network. COMMAND is `slat`, which is built
first, or an executable of this machine, taken along with its libraries. What it
prints comes out here; its exit code is run.sh's.

  --memory MIB    of the nested host (1024)
  --seconds N     time limit of COMMAND and its boot, together (300)
  --file PATH     take this file along, at the same place; may be repeated
  --program NAME  take this program along, with its libraries; may be repeated
  --linux-guest   take along a kernel, /boot/vmlinuz, and a user space for it,
                  /boot/initrd, which loads what the kernel's command line has
                  as modules=NAME,NAME (virtio_mmio, virtio_blk and others),
                  runs what it has as run="COMMAND" and powers off
  --guest-file PATH, --guest-program NAME
                  as --file and --program, into that user space
  --steady-clock  a nanosecond in the nested host is one instruction executed, so that
                  its times do not depend on what else this machine does
  --env NAME=TEXT a variable for COMMAND; may be repeated
  --build-dir DIR take slat from there as it is (build/release, built first)
  --log FILE      keep the nested host's own console in FILE
  --jobs N        parallel compilations (all CPUs)
  -h, --help      this text

The packages that are missing are installed (Debian 12, as root or with sudo). The
kernel is Debian's linux-image-cloud-amd64, downloaded once into build/nested and
checked against its package's SHA-256.

Everything is emulated: some 10 s for the smallest command, and a hundredth of the
speed of hardware for what KVM does. A boot that hangs or dies is tried once more.

Exit codes: COMMAND's; 64 wrong options, 69 something is missing here, 77 no
permission, 124 the time was up twice, 125 the nested host died twice.
HELP
}

memory=1024 seconds=300 log='' build_dir='' jobs=$(nproc) linux_guest=no clock=()
files=() programs=() guest_files=() guest_programs=() variables=()
while (($# > 0)); do
  option=$1
  case $option in
  -h | --help) usage && exit ;;
  --) shift && break ;;
  --linux-guest) linux_guest=yes && shift && continue ;;
  --steady-clock) clock=(-icount shift=0,sleep=off) && shift && continue ;;
  --*=*) # --option=value is --option value
    set -- "${option%%=*}" "${option#*=}" "${@:2}"
    continue
    ;;
  --memory | --seconds | --file | --program | --guest-file | --guest-program | --env | --build-dir | --log | --jobs)
    (($# >= 2)) || usage_error "$option needs a value"
    ;;
  -*) usage_error "unknown option '$option'" ;;
  *) break ;;
  esac
  case $option in
  --file) files+=("$2") ;;
  --program) programs+=("$2") ;;
  --guest-file) guest_files+=("$2") ;;
  --guest-program) guest_programs+=("$2") ;;
  --env) variables+=("$2") ;;
  --build-dir) build_dir=$2 ;;
  --log) log=$2 ;;
  *) need_number "$option" "$2" && printf -v "${option#--}" '%s' "$2" ;;
  esac
  shift 2
done
(($# > 0)) || usage_error "no command to run"
((memory >= 256)) || usage_error "--memory $memory: the nested host needs 256 MiB"
[[ $linux_guest == yes || -z ${guest_files[*]}${guest_programs[*]} ]] ||
  usage_error "--guest-file and --guest-program take --linux-guest"
for file in "${files[@]}" "${guest_files[@]}"; do
  [[ -r $file ]] || usage_error "'$file' cannot be read"
done
for variable in "${variables[@]}"; do
  [[ $variable =~ ^[A-Za-z_][A-Za-z_0-9]*= ]] || usage_error "--env '$variable': give NAME=TEXT"
done

packages=$slat_nested_packages
[[ -n $build_dir ]] || packages+=$slat_release_packages
install_packages "$packages"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

cache=$slat_root/build/nested
writable_directory "$cache"

# boot_once: runs the job, whose output is the second serial port; returns its code, or 124, or 125.
boot_once() {
  local status=0 code
  : >"$work/console"
  # One CPU, and no XSAVE: with more of either, this QEMU hangs now and then.
  timeout --foreground "$seconds" qemu-system-x86_64 -M q35 -accel tcg -cpu max,+svm,+npt,-xsave,-pku -smp 1 \
    "${clock[@]}" -m "$memory" -no-reboot -nodefaults -display none -monitor none \
    -kernel "$kernel/vmlinuz" -initrd "$work/initrd.gz" -append "console=ttyS0 reboot=t panic=-1 quiet" \
    -serial "file:$work/console" -serial stdio -device isa-debug-exit,iobase=0xf4,iosize=1 </dev/null || status=$?
  [[ -z $log ]] || cp "$work/console" "$log"
  ((status != 124)) || return 124
  # Its code from the console, for the port's is cut short; and both, or it was a reset.
  code=$(sed -n 's/^slat-nested: the command has ended with \([0-9]*\)\r*$/\1/p' "$work/console" | tail -n 1)
  ((status % 2 == 1)) && [[ -n $code ]] || return 125
  return "$code"
}

needs_slat=no
for name in "$1" "${programs[@]}" "${guest_programs[@]}"; do
  if [[ $name == slat ]]; then needs_slat=yes; else executable "$name" >/dev/null; fi
done
if [[ -z $build_dir ]]; then
  build_dir=$slat_root/build/release
  targets=(slat_nested_exit)
  [[ $needs_slat == no ]] || targets+=(slat)
  configure release >"$work/build.log" || { cat "$work/build.log" >&2 && exit 1; }
  build release "$jobs" "${targets[@]}" >"$work/build.log" || { cat "$work/build.log" >&2 && exit 1; }
fi
exit_port=$build_dir/tools/nested/slat-nested-exit
[[ -x $exit_port ]] || die 69 "no $exit_port: build the target slat_nested_exit"
[[ $needs_slat == no || -x $build_dir/tools/slat/slat ]] || die 69 "no $build_dir/tools/slat/slat: build the target slat"

fetch_kernel
make_root "$@"
for attempt in 1 2; do
  code=0
  boot_once || code=$?
  ((code == 124 || code == 125)) || exit "$code"
  what="died"
  ((code == 125)) || what="was not done after $seconds s"
  printf '%s: the nested host %s; the end of its console:\n' "$slat_program" "$what" >&2
  tail -n 15 "$work/console" >&2
  ((attempt == 2)) || printf '%s: once more\n' "$slat_program" >&2
done
exit "$code"
