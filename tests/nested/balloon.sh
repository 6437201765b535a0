#!/bin/busybox sh
# shellcheck shell=dash
# balloon.sh GUEST_SCRIPT inflate|report: in the nested host. A Linux guest fills memory and frees it again; the host's
# resident memory must fall, by the balloon or by free page reporting, and the guest must be able to use it once more.
set -eu
socket=/dev/shm/slat.sock
mkfifo /dev/shm/typed
reporting=on
[ "$2" = report ] || reporting=off
slat boot --accel kvm --kernel /boot/vmlinuz --initrd /boot/initrd --memory size=192M --api-socket $socket \
  --balloon "size=0,free_page_reporting=$reporting" \
  --cmdline "console=ttyS0 panic=-1 quiet modules=virtio_mmio,virtio_balloon run=\"sh $1\"" \
  </dev/shm/typed >/dev/shm/said &
exec 3>/dev/shm/typed

# until COMMAND...: the nested host has a time limit.
until_true() { while ! "$@"; do sleep 0.3; done; }
said() { grep -q "$1" /dev/shm/said; }
resident() { slat ctl --api-socket $socket memory | awk '$1 == "resident_bytes" { print int($2 / 1048576) }'; }
at_most() { [ "$(resident)" -le "$1" ]; }
inflated() { slat ctl --api-socket $socket balloon | grep -q "actual_mib *$1"; }

until_true said "guest: full"
full=$(resident)
echo go >&3
until_true said "guest: freed"
if [ "$2" = inflate ]; then
  echo "balloon: $full MiB resident when full, $(resident) when freed"
  slat ctl --api-socket $socket balloon 96M
  until_true inflated 96
fi
until_true at_most $((full - 64))
echo "balloon: $(resident) MiB resident, of $full"
slat ctl --api-socket $socket balloon-stats
slat ctl --api-socket $socket balloon 0
until_true inflated 0
echo go >&3
wait %1
tr -d '\r' </dev/shm/said
