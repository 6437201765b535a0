#!/bin/busybox sh
# shellcheck shell=dash
# In the Linux guest of balloon.sh. A line on the console says when to go on.
set -eu
fill() { tr '\0' x </dev/zero | dd of=/dev/shm/big bs=1M count=80 iflag=fullblock 2>/dev/null; }
mount -t tmpfs -o size=128M tmpfs /dev/shm
fill
echo "guest: full"
read -r _ </dev/ttyS0
rm /dev/shm/big
echo "guest: freed"
read -r _ </dev/ttyS0
fill
[ "$(tr -d x </dev/shm/big | wc -c)" = 0 ]
echo "guest: filled once more"
