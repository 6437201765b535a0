#!/usr/bin/env bash
# fish.sh SLAT: what fish completes.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) slat=$1
if ! command -v fish >/dev/null; then
  echo "skipped: fish is not installed"
  exit 77
fi
HOME=$(mktemp -d)
export HOME
script=$HOME/slat.fish
"$slat" completion fish >"$script"

candidates() {
  # An option that takes a value may come with its '='.
  # shellcheck disable=SC2016 # fish's own dollars
  fish --no-config -c 'source $argv[1]; complete -C "$argv[2..]"' "$script" "$@" | cut -f 1 | sed 's/^\(--[^=]*\)=$/\1/'
}

# shellcheck source=tests/completion/cases.sh
. "$here/cases.sh"
trap 'rm -rf "$scratch" "$HOME"' EXIT
options_and_commands
values
files
verdict
