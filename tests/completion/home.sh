# shellcheck shell=bash disable=SC2154
# What the tests of zsh and fish have in common: the shell is there, and starts in a home of its own with the script of
# `slat completion` in $script; the questions. Sourced with $shell, $slat (the program), $here (this directory) and the
# function candidates of cases.sh, which finds the script there.

if ! command -v "$shell" >/dev/null; then
  echo "skipped: $shell is not installed"
  exit 77
fi
HOME=$(mktemp -d)
export HOME
mkdir "$HOME/functions"
script=$HOME/functions/_slat # the name that zsh looks for
"$slat" completion "$shell" >"$script"

# shellcheck source=tests/completion/cases.sh
. "$here/cases.sh"
trap 'rm -rf "$scratch" "$HOME"' EXIT
options_and_commands
values
files
verdict
