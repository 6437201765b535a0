#!/usr/bin/env bash
# Verifies the layering: which folder may include which, and that no file has outgrown its one thing.
#
#   mmu    nothing of ours           vmm    mmu, kvm            tools/guests   nothing of ours
#   kvm    nothing of ours           tools  vmm, mmu, kvm, guests
set -euo pipefail

usage() {
  cat <<'HELP'
Usage: check_includes.sh [TREE]
Checks every include of the folders mmu, kvm, vmm and tools of TREE (default:
the tree that this script is in), and that no source file has more than 500
lines. Prints "file:line: what is wrong" for each finding.

Exit codes: 0 nothing found, 1 findings, 64 wrong arguments.
HELP
}

(($# <= 1)) || { usage >&2 && exit 64; }
case ${1:-} in
-h | --help) usage && exit ;;
-*) echo "check_includes.sh: unknown option '$1' (see --help)" >&2 && exit 64 ;;
esac
tree=${1:-$(dirname "${BASH_SOURCE[0]}")/..}
cd "$tree" 2>/dev/null || { echo "check_includes.sh: no directory '$tree'" >&2 && exit 64; }
folders=(mmu kvm vmm tools tests)
for folder in "${folders[@]}"; do
  # A tree without them would pass by having nothing to check.
  [[ -d $folder ]] || { echo "check_includes.sh: '$tree' has no folder $folder" >&2 && exit 64; }
done

# shellcheck disable=SC2016 # awk's own dollars
find "${folders[@]}" -type f \
  \( -name '*.hpp' -o -name '*.cpp' -o -name '*.h' -o -name '*.S' -o -name '*.in' -o -name '*.sh' \) -print0 |
  sort -z | xargs -0 awk -v cap=500 '
  BEGIN {
    # By including folder: the folders of ours that it may reach, itself included. tests/ may reach anything.
    may["mmu"] = " mmu "
    may["kvm"] = " kvm "
    may["vmm"] = " vmm mmu kvm "
    may["tools"] = " slat guests vmm mmu kvm "
    may["guests"] = " guests "
    ours = " mmu kvm vmm slat guests tools tests "
  }
  function found(line, what) { printf "%s:%d: %s\n", FILENAME, line, what; findings++ }
  FNR == 1 {
    if (FILENAME ~ /^tools\/guests\//) folder = "guests"
    else folder = substr(FILENAME, 1, index(FILENAME, "/") - 1)
  }
  FNR == cap + 1 { found(FNR, "more than " cap " lines: a file does one thing, split it") }
  folder in may && /^[ \t]*#[ \t]*(include|include_next|import)[ \t]*["<]/ {
    path = $0
    sub(/^[^"<]*["<]/, "", path)
    sub(/[">].*/, "", path)
    if (path ~ /(^|\/)\.\.(\/|$)/) {
      found(FNR, "\"" path "\" climbs out of its folder: write \"folder/file.hpp\"")
      next
    }
    target = index(path, "/") ? substr(path, 1, index(path, "/") - 1) : ""
    if (target == "" && $0 ~ /include[ \t]*"/)
      found(FNR, "\"" path "\" does not say whose it is: write \"folder/file.hpp\"")
    if (index(ours, " " target " ") && !index(may[folder], " " target " "))
      found(FNR, folder "/ must not include \"" path "\"; it may reach:" may[folder])
  }
  END { exit findings > 0 }
' || exit 1 # xargs has codes of its own
