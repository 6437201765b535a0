#!/usr/bin/env bash
# Shows that check_includes.sh refuses what it must, and nothing else: each case is a small tree with one fault.
set -euo pipefail
check=$1
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
failures=0

fresh_tree() {
  rm -rf "${tree:?}"/*
  mkdir -p "$tree"/{mmu,kvm,vmm,tools/slat,tools/guests,tests/unit}
  echo '#include "mmu/error.hpp"' >"$tree/mmu/good.cpp"
  printf '%s\n' '#include "kvm/error.hpp"' '#include <linux/kvm.h>' >"$tree/kvm/good.cpp"
  printf '#include "%s"\n' vmm/a.hpp mmu/b.hpp kvm/c.hpp >"$tree/vmm/good.cpp"
  printf '#include "%s"\n' slat/a.hpp guests/abi.hpp vmm/a.hpp mmu/b.hpp kvm/c.hpp >"$tree/tools/slat/good.cpp"
  echo '#include "guests/abi.hpp"' >"$tree/tools/guests/good.cpp"
  printf '#include "%s"\n' mmu/a.hpp tests.hpp slat/b.hpp >"$tree/tests/unit/good.cpp"
}

# expect CODE WORDS: what the check says of the tree.
expect() {
  local code=0 said
  said=$("$check" "$tree" 2>&1) || code=$?
  if [[ $code != "$1" || $said != *"$2"* ]]; then
    echo "$3: expected exit code $1 and '$2', got $code and '$said'"
    failures=$((failures + 1))
  fi
}

# refuse FILE LINE WORDS
refuse() {
  fresh_tree
  echo "$2" >"$tree/$1"
  expect 1 "$1:1: $3" "$2 in $1"
}

fresh_tree
expect 0 '' 'a good tree'
refuse mmu/bad.cpp '#include "kvm/vm.hpp"' 'mmu/ must not include'
refuse mmu/bad.hpp '#include "vmm/machine.hpp"' 'mmu/ must not include'
refuse mmu/deep.hpp '  #  include <kvm/vm.hpp>' 'mmu/ must not include'
refuse kvm/bad.hpp '#include "mmu/host.hpp"' 'kvm/ must not include'
refuse kvm/bad.hpp '#include "slat/run.hpp"' 'kvm/ must not include'
refuse vmm/bad.cpp '#include "slat/run.hpp"' 'vmm/ must not include'
refuse vmm/bad.cpp '#include "guests/abi.hpp"' 'vmm/ must not include'
refuse tools/slat/bad.cpp '#include "tests/helper.hpp"' 'tools/ must not include'
refuse tools/guests/bad.cpp '#include "vmm/machine.hpp"' 'guests/ must not include'
refuse kvm/bad.hpp '#include "kvm/../mmu/host.hpp"' '"kvm/../mmu/host.hpp" climbs'
refuse vmm/bad.hpp '#include "machine.hpp"' '"machine.hpp" does not say whose it is'

fresh_tree
yes '//' | head -n 500 >"$tree/tests/unit/long.cpp" || true # head closes the pipe
expect 0 '' 'a file of 500 lines'
echo '//' >>"$tree/tests/unit/long.cpp"
expect 1 'tests/unit/long.cpp:501: more than 500 lines' 'a file of 501 lines'

rm -rf "${tree:?}/mmu"
expect 64 'has no folder mmu' 'a tree with nothing to check'

((failures == 0))
