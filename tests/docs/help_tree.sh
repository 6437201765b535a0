#!/usr/bin/env bash
# help_tree.sh SLAT: what `slat --help` and the help of each command below it list: a line for each command, and one for
# each of its long options but --help, as "slat ctl storm --rate".
set -euo pipefail
program=$1

tree() { # COMMAND...
  local help name
  help=$("$program" "$@" --help)
  echo "slat${*:+ $*}"
  # Options of any group: lines of two spaces and a dash; the first word has all names.
  awk -v command="slat${*:+ $*}" '
    /^  -/ {
      names = split($1, name, ",")
      for (i = 1; i <= names; ++i)
        if (name[i] ~ /^--/ && name[i] != "--help") print command " " name[i]
    }' <<<"$help"
  while read -r name; do
    tree "$@" "$name"
  done < <(awk '/^Subcommands:/ { inside = 1; next } !NF { inside = 0 } inside && /^  [^ ]/ { print $1 }' <<<"$help")
}
tree
