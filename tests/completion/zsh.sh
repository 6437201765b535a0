#!/usr/bin/env bash
# zsh.sh SLAT: what zsh completes, in an interactive zsh on a terminal of its own (zsh.capture).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) slat=$1 shell=zsh script=

candidates() { zsh -f "$here/zsh.capture" "${script%/*}" "$*"; }

# shellcheck source=tests/completion/home.sh
. "$here/home.sh"
