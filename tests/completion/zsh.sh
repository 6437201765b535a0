#!/usr/bin/env bash
# zsh.sh SLAT: what zsh completes, in an interactive zsh on a terminal of its own (zsh.capture).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) slat=$1
if ! command -v zsh >/dev/null; then
  echo "skipped: zsh is not installed"
  exit 77
fi
HOME=$(mktemp -d)
export HOME
mkdir "$HOME/functions"
"$slat" completion zsh >"$HOME/functions/_slat"

candidates() { zsh -f "$here/zsh.capture" "$HOME/functions" "$*"; }

# shellcheck source=tests/completion/cases.sh
. "$here/cases.sh"
trap 'rm -rf "$scratch" "$HOME"' EXIT
options_and_commands
values
files
verdict
