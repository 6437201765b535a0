#!/usr/bin/env bash
# fish.sh SLAT: what fish completes.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) slat=$1 shell=fish script=

candidates() {
  # An option that takes a value may come with its '='.
  # shellcheck disable=SC2016 # fish's own dollars
  fish --no-config -c 'source $argv[1]; complete -C "$argv[2..]"' "$script" "$@" | cut -f 1 | sed 's/^\(--[^=]*\)=$/\1/'
}

# shellcheck source=tests/completion/home.sh
. "$here/home.sh"
