#!/usr/bin/env bash
# check.sh CODE PATTERN run.sh ARGUMENT...: the nested host's command must end with CODE and print a line that matches
# PATTERN. 77 where there is nothing to run a nested host with, or with what it is to take along.
set -euo pipefail
want=$1 pattern=$2
shift 2
tools=(qemu-system-x86_64 busybox cpio strip apt-get dpkg-deb)
for ((i = 1; i < $#; ++i)); do
  [[ ${!i} != --program && ${!i} != --guest-program ]] || { next=$((i + 1)) && tools+=("${!next}"); }
done
for tool in "${tools[@]}"; do
  [[ $tool != slat ]] || continue
  PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || { echo "skipped: no $tool" && exit 77; }
done
code=0
output=$("$@" 2>&1) || code=$?
# What `slat inval` has skipped comes first, for test.sh to count: CTest keeps the beginning of what a test says.
awk '/ skipped +[0-9.]+ s\r?$/ { name = $1; getline; sub(/^ +/, ""); print "skipped inside: " name ": " $0 }' <<<"$output"
printf '%s\n' "$output"
if ((code != want)); then
  echo "check.sh: exit code $code, not $want"
  exit 1
fi
grep -Eq -- "$pattern" <<<"$output" || { echo "check.sh: no line matches '$pattern'" && exit 1; }
