#!/usr/bin/env bash
# doxygen.sh TREE OUT: the API reference comes out without a warning.
set -euo pipefail
tree=$1 out=$2
if ! command -v doxygen >/dev/null; then
  echo "skipped: doxygen is not installed"
  exit 77
fi
rm -rf "$out"
mkdir -p "$out"
cd "$tree"
SLAT_DOCS_OUT=$out SLAT_VERSION=test doxygen docs/Doxyfile || {
  echo "mend: the comments above; a word such as #GP or <name> stands in backticks"
  exit 1
}
# A reference of nothing has no warnings either.
for page in classslat_1_1mmu_1_1AddressSpace classslat_1_1kvm_1_1Vm classslat_1_1vmm_1_1Machine; do
  [[ -s $out/html/$page.html ]] || { echo "no page $page in $out/html: what is INPUT?" && exit 1; }
done
