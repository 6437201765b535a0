#!/usr/bin/env bash
# bash.sh SLAT: what bash completes. Drives the function as readline does: words cut at '=', the answer put behind what
# bash keeps.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) slat=$1
# shellcheck disable=SC1090
source <("$slat" completion bash)
[[ $(complete -p slat) == *"-F _slat "* ]] || { echo "the script completes nothing: $(complete -p slat)" && exit 1; }

candidates() {
  local word rest reply
  local -a COMP_WORDS=() COMPREPLY=()
  for word; do
    rest=$word
    while [[ $rest == *=* ]]; do
      [[ ${rest%%=*} ]] && COMP_WORDS+=("${rest%%=*}")
      COMP_WORDS+=('=')
      rest=${rest#*=}
    done
    [[ $rest || $word != *=* ]] && COMP_WORDS+=("$rest")
  done
  local COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  _slat slat "${COMP_WORDS[COMP_CWORD]}" ''
  for reply in "${COMPREPLY[@]}"; do printf '%s\n' "${word%"$rest"}$reply"; done
}

# shellcheck source=tests/completion/cases.sh
. "$here/cases.sh"
options_and_commands
values
files
# By word breaks that somebody has changed: whole words then.
COMP_WORDS=(slat boot --accel=k) COMP_CWORD=2 COMPREPLY=()
_slat
[[ ${COMPREPLY[*]} == --accel=kvm ]] || { echo "without '=' among the word breaks: ${COMPREPLY[*]}" && exit 1; }
verdict
