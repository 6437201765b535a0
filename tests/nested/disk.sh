#!/bin/busybox sh
# shellcheck shell=dash
# disk.sh GUEST_SCRIPT STORM: in the nested host. A Linux guest writes files at random to a disk while the storm goes on;
# then the file system and every file are checked from outside.
set -eu
image=/dev/shm/disk.img
truncate -s 48M $image
mke2fs -q -F -t ext4 $image
slat boot --accel kvm --kernel /boot/vmlinuz --initrd /boot/initrd --memory size=128M --rng \
  --disk "path=$image,num_queues=2" --storm "$2" --storm-rate 50 \
  --cmdline "console=ttyS0 panic=-1 quiet modules=virtio_mmio,virtio_blk,virtio_rng run=\"sh $1\"" >/dev/shm/said
cat /dev/shm/said
e2fsck -f -n $image
mkdir /dev/shm/files
debugfs -R "rdump / /dev/shm/files" $image 2>/dev/null
cd /dev/shm/files
tr -d '\r' </dev/shm/said | sed -n 's/^sum: //p' >/dev/shm/told
sha256sum -c /dev/shm/told
echo "disk: $(wc -l </dev/shm/told) files are what the guest wrote"
