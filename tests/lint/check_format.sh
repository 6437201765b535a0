#!/usr/bin/env bash
# Every C++ file is as clang-format 19 makes it by .clang-format. Other versions differ, so they do not count.
set -euo pipefail
cd "$1"
if ! command -v clang-format-19 >/dev/null; then
  echo "skipped: clang-format-19 is not installed"
  exit 77
fi
find mmu kvm vmm tools tests -name '*.[ch]pp' -print0 |
  xargs -0 clang-format-19 --dry-run -Werror || { echo "mend: clang-format-19 -i on the files above" && exit 1; }
