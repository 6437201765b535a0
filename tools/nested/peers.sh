#!/bin/sh
# Boots one kernel and initrd with slat and with QEMU's microvm, in turn and in one nested host, and compares the time to
# the guest's user space, and what each VMM needs of memory beyond the guest's RAM. This script is both sides of it: what
# starts the nested host, and, with "inside" as its first argument, what runs there.
set -eu
marker='guest: Linux' # guest_init's first line

usage() {
  cat <<'HELP'
Usage: peers.sh [--rounds N] [--memory MIB] [--seconds N] [--wall-clock] [--build-dir DIR]
Compares slat with QEMU's microvm in a nested host (see run.sh): N rounds (10), in
each of which both boot the same kernel and initrd once, the first by turns, with
1 vCPU and MIB of RAM (256); after a round that does not count. Prints each boot,
then the medians with the smallest and the largest:

  ms to user space      from the start of the VMM's process to the first line that
                        the guest's first process prints: a millisecond is 1,000,000
                        instructions of the nested host and all in it, whatever else
                        this machine does; --wall-clock: real time
  KiB beyond guest RAM  resident then, of all mappings but the guest's RAM
  KiB page tables       of the VMM's process, guest RAM's among them

QEMU boots by qboot, without option ROMs, PIT, PIC and RTC, and by SeaBIOS as its
microvm does by default. --build-dir has slat, built (build/release).

Exit codes: 0 both have booted every time; else run.sh's.
HELP
}

# boot VMM MIB: the figures of one boot.
boot() {
  case $1 in
  slat)
    slat-nested-boot-meter "$marker" 120 slat boot --accel kvm --kernel /boot/vmlinuz --initrd /boot/initrd \
      --memory "size=$2M" --cmdline "$cmdline"
    ;;
  *)
    machine=microvm,memory-backend=ram,isa-serial=on,rtc=off,pit=off,pic=off
    # SeaBIOS loads Linux by an option ROM.
    case $1 in
    qemu-qboot) firmware="-bios qboot.rom" machine=$machine,x-option-roms=off ;;
    qemu-seabios) firmware="" ;;
    esac
    # shellcheck disable=SC2086 # two words or none
    slat-nested-boot-meter "$marker" 120 qemu-system-x86_64 -M $machine $firmware -accel kvm -cpu host -smp 1 -m "$2" \
      -object "memory-backend-memfd,id=ram,size=$2M" -nodefaults -no-user-config -nographic -no-reboot -serial stdio \
      -kernel /boot/vmlinuz -initrd /boot/initrd -append "$cmdline"
    ;;
  esac
}

# statistics VMM COLUMN: median, smallest, largest.
statistics() {
  awk -v c="$2" '{ print $c }' "/tmp/$1" | sort -n |
    awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2, v[1], v[NR] }'
}

inside() {
  rounds=$1 memory=$2
  cmdline='console=ttyS0 panic=-1 quiet'
  vmms='slat qemu-qboot qemu-seabios' turned='qemu-seabios qemu-qboot slat'
  round=0
  while [ "$round" -le "$rounds" ]; do
    order=$vmms
    [ $((round % 2)) = 0 ] || order=$turned
    for vmm in $order; do
      figures=$(boot "$vmm" "$memory")
      echo "round $round $vmm: $figures"
      [ "$round" = 0 ] || echo "$figures" >>"/tmp/$vmm"
    done
    round=$((round + 1))
  done
  echo
  printf '%-14s %30s %30s %24s\n' "" "ms to user space" "KiB beyond guest RAM" "KiB page tables"
  for vmm in $vmms; do
    printf '%-14s' "$vmm"
    for c in 1 2 3; do
      # shellcheck disable=SC2046 # three words
      set -- $(statistics "$vmm" $c)
      width=30
      [ $c != 3 ] || width=24
      printf " %${width}s" "$1 ($2 to $3)"
    done
    echo
  done
  for vmm in qemu-qboot qemu-seabios; do
    printf 'slat / %s:' "$vmm"
    for c in 1 2 3; do
      echo "$(statistics slat $c) $(statistics "$vmm" $c)" | awk '{ printf " %.2f", $1 / $4 }'
    done
    echo
  done
}

if [ "${1:-}" = inside ]; then
  shift
  inside "$@"
  exit
fi

here=$(cd "$(dirname "$0")" && pwd)
rounds=10 memory=256 seconds=1200 clock=--steady-clock build_dir=$here/../../build/release
while [ $# -gt 0 ]; do
  case $1 in
  -h | --help) usage && exit ;;
  --wall-clock) clock='' && shift && continue ;;
  --rounds | --memory | --seconds | --build-dir)
    [ $# -ge 2 ] || { echo "peers.sh: $1 needs a value" >&2 && exit 64; }
    ;;
  *) echo "peers.sh: unknown option '$1' (see --help)" >&2 && exit 64 ;;
  esac
  case $1 in
  --rounds) rounds=$2 ;;
  --memory) memory=$2 ;;
  --seconds) seconds=$2 ;;
  --build-dir) build_dir=$2 ;;
  esac
  shift 2
done
meter=$build_dir/tools/nested/slat-nested-boot-meter
[ -x "$meter" ] || { echo "peers.sh: no $meter: build the target slat_nested_boot_meter" >&2 && exit 69; }
# shellcheck disable=SC2086 # an option or none
exec "$here/run.sh" $clock --build-dir "$build_dir" --memory $((1024 + 2 * memory)) --seconds "$seconds" --linux-guest \
  --program slat --program qemu-system-x86_64 --program "$meter" --file /usr/share/qemu/qboot.rom \
  --file /usr/share/qemu/bios-microvm.bin --file /usr/share/qemu/linuxboot_dma.bin --file "$here/peers.sh" \
  -- sh "$here/peers.sh" inside "$rounds" "$memory"
