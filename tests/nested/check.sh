#!/usr/bin/env bash
# check.sh CODE PATTERN run.sh ARGUMENT...: the nested host's command must end with CODE and print a line that matches
# PATTERN. 77 where there is nothing to run a nested host with.
set -euo pipefail
want=$1 pattern=$2
shift 2
for tool in qemu-system-x86_64 busybox cpio strip apt-get dpkg-deb; do
  command -v "$tool" >/dev/null || { echo "skipped: no $tool" && exit 77; }
done
code=0
output=$("$@" 2>&1) || code=$?
printf '%s\n' "$output"
if ((code != want)); then
  echo "check.sh: exit code $code, not $want"
  exit 1
fi
grep -Eq -- "$pattern" <<<"$output" || { echo "check.sh: no line matches '$pattern'" && exit 1; }
