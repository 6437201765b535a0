#!/usr/bin/env bash
# Boots a small Linux with KVM under QEMU, which emulates AMD's SVM with nested paging in software, and runs one command
# in it: real KVM over two-dimensional page tables, on any machine.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../packages.sh
. "$(dirname "${BASH_SOURCE[0]}")/../packages.sh"

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
  --linux-guest   take along a kernel, /boot/vmlinuz, and a user space for it,
                  /boot/initrd, which runs what the kernel's command line has
                  as run="COMMAND" and powers off
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

memory=1024 seconds=300 log='' build_dir='' jobs=$(nproc) files=() variables=() linux_guest=no
while (($# > 0)); do
  option=$1
  case $option in
  -h | --help) usage && exit ;;
  --) shift && break ;;
  --linux-guest) linux_guest=yes && shift && continue ;;
  --*=*) # --option=value is --option value
    set -- "${option%%=*}" "${option#*=}" "${@:2}"
    continue
    ;;
  --memory | --seconds | --file | --env | --build-dir | --log | --jobs) (($# >= 2)) || usage_error "$option needs a value" ;;
  -*) usage_error "unknown option '$option'" ;;
  *) break ;;
  esac
  case $option in
  --file) files+=("$2") ;;
  --env) variables+=("$2") ;;
  --build-dir) build_dir=$2 ;;
  --log) log=$2 ;;
  *) need_number "$option" "$2" && printf -v "${option#--}" '%s' "$2" ;;
  esac
  shift 2
done
(($# > 0)) || usage_error "no command to run"
((memory >= 256)) || usage_error "--memory $memory: the nested host needs 256 MiB"
for file in "${files[@]}"; do
  [[ -r $file ]] || usage_error "--file '$file': it cannot be read"
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

# fetch_kernel: the kernel and KVM's modules into $cache, once; sets $kernel.
fetch_kernel() {
  local name version sum deb
  name=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends: linux-image/ { print $2; exit }')
  if [[ -z $name ]]; then # no package lists: what was fetched before does as well
    kernel=$(find "$cache" -maxdepth 2 -name .complete -printf '%h\n' | sort -V | tail -n 1)
    [[ -n $kernel ]] || die 69 "apt knows no linux-image-cloud-amd64: apt-get update, and mind that this takes Debian 12"
    return
  fi
  version=$(apt-cache policy "$name" | awk '/Candidate:/ { print $2 }')
  kernel=$cache/$name-${version//:/_}
  [[ ! -e $kernel/.complete ]] || return 0 # downloaded and checked
  step "kernel: downloading $name $version" >&2
  sum=$(apt-cache show "$name=$version" | awk '/^SHA256:/ { print $2; exit }')
  (cd "$work" && apt-get -q -o APT::Sandbox::User=root download "$name=$version" >/dev/null) ||
    die 69 "apt-get download $name=$version failed (above): check the network and /etc/apt"
  deb=$(find "$work" -name '*.deb')
  [[ $(sha256sum <"$deb") == "$sum  -" ]] || die 69 "$name $version is not what its package list says: SHA-256 differs"
  rm -rf "$kernel"
  mkdir -p "$kernel"
  dpkg-deb -x "$deb" "$work/kernel"
  cp "$work"/kernel/boot/vmlinuz-* "$kernel/vmlinuz"
  local module
  for module in irqbypass kvm kvm-amd; do
    find "$work/kernel/lib/modules" -name "$module.ko" -exec cp {} "$kernel" \;
    [[ -s $kernel/$module.ko ]] || die 69 "$name $version has no $module.ko"
  done
  rm -rf "$work/kernel" "$deb"
  touch "$kernel/.complete"
}

# take FILE: into the nested host's root, at the same place. Debug information stays here.
take() {
  local to=$work/root$1
  [[ ! -e $to ]] || return 0
  mkdir -p "$(dirname "$to")"
  strip -g -o "$to" "$1" 2>/dev/null || cp -L "$1" "$to"
}

# take_program FILE: with the libraries that it is linked to.
take_program() {
  local library
  take "$1"
  while read -r library; do
    take "$library"
  done < <(ldd "$1" 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }')
}

quoted() { printf "'%s' " "${@//\'/\'\\\'\'}"; }

# pack FOLDER FILE: an initial RAM file system.
pack() { (cd "$1" && find . -print0 | cpio --null -o -H newc --quiet | gzip -1) >"$2"; }

make_linux_guest() {
  mkdir -p "$work"/guest/{bin,dev,proc,sys,tmp} "$work/root/boot"
  cp /bin/busybox "$exit_port" "$work/guest/bin/"
  install -m 755 "$slat_root/tools/nested/guest_init" "$work/guest/init"
  pack "$work/guest" "$work/root/boot/initrd"
  cp "$kernel/vmlinuz" "$work/root/boot/vmlinuz"
}

# make_root COMMAND...: the initial RAM file system.
make_root() {
  local program=$1
  mkdir -p "$work"/root/{bin,dev,proc,sys,tmp}
  take_program "$program"
  cp /bin/busybox "$work/root/bin/busybox"
  cp "$exit_port" "$work/root/bin/slat-nested-exit"
  cp "$kernel"/*.ko "$work/root/"
  install -m 755 "$slat_root/tools/nested/init" "$work/root/init"
  [[ $linux_guest == no ]] || make_linux_guest
  [[ ! -t 1 ]] || : >"$work/root/on-a-terminal"
  local file
  for file in "${files[@]}"; do take "$(realpath -s "$file")"; done
  {
    for file in "${variables[@]}"; do printf 'export %s=%s\n' "${file%%=*}" "$(quoted "${file#*=}")"; done
    printf 'exec %s\n' "$(quoted "$@")"
  } >"$work/root/job"
  pack "$work/root" "$work/initrd.gz"
}

# boot_once: runs the job, whose output is the second serial port; returns its code, or 124, or 125.
boot_once() {
  local status=0 code
  : >"$work/console"
  # One CPU, and no XSAVE: with more of either, this QEMU hangs now and then.
  timeout --foreground "$seconds" qemu-system-x86_64 -M q35 -accel tcg -cpu max,+svm,+npt,-xsave,-pku -smp 1 \
    -m "$memory" -no-reboot -nodefaults -display none -monitor none \
    -kernel "$kernel/vmlinuz" -initrd "$work/initrd.gz" -append "console=ttyS0 reboot=t panic=-1 quiet" \
    -serial "file:$work/console" -serial stdio -device isa-debug-exit,iobase=0xf4,iosize=1 </dev/null || status=$?
  [[ -z $log ]] || cp "$work/console" "$log"
  ((status != 124)) || return 124
  # Its code from the console, for the port's is cut short; and both, or it was a reset.
  code=$(sed -n 's/^slat-nested: the command has ended with \([0-9]*\)\r*$/\1/p' "$work/console" | tail -n 1)
  ((status % 2 == 1)) && [[ -n $code ]] || return 125
  return "$code"
}

if [[ -z $build_dir ]]; then
  build_dir=$slat_root/build/release
  targets=(slat_nested_exit)
  [[ $1 != slat ]] || targets+=(slat)
  configure release >"$work/build.log" || { cat "$work/build.log" >&2 && exit 1; }
  build release "$jobs" "${targets[@]}" >"$work/build.log" || { cat "$work/build.log" >&2 && exit 1; }
fi
exit_port=$build_dir/tools/nested/slat-nested-exit
program=$build_dir/tools/slat/slat
[[ -x $exit_port ]] || die 69 "no $exit_port: build the target slat_nested_exit"
[[ $1 == slat ]] || program=$(type -P -- "$1") || usage_error "no command '$1' on this machine"
program=$(realpath "$program")
shift

fetch_kernel
make_root "$program" "$@"
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
