#!/bin/busybox sh
# shellcheck shell=dash
# In the Linux guest of disk.sh: files, written in order and then at random, and read again from the disk.
set -eu
# number LIMIT: at random
number() { echo $(($(hexdump -n 4 -e '"%u"' /dev/urandom) % $1)); }
mkdir -p /mnt
mount -t ext4 /dev/vda /mnt
cd /mnt
for i in 0 1 2 3 4 5 6 7; do
  dd if=/dev/urandom of=f$i bs=4k count=$((32 + i * 29)) 2>/dev/null
done
for i in $(seq 40); do
  dd if=/dev/urandom of="f$(number 8)" bs=1k count="$(number 40)" seek="$(number 500)" conv=notrunc 2>/dev/null
  [ $((i % 10)) != 0 ] || sync
done
rm f3
sha256sum f* >/tmp/sums
sync
echo 3 >/proc/sys/vm/drop_caches
sha256sum -c /tmp/sums
cd /
umount /mnt
sed 's/^/sum: /' /tmp/sums
