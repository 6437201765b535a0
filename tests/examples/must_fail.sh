#!/usr/bin/env bash
# must_fail.sh WORDS PROGRAM [ARGUMENT ...]: the program ends with exit code 1, and says these words.
set -uo pipefail
words=$1
shift
output=$("$@" 2>&1)
code=$?
printf '%s\nexit code %d\n' "$output" "$code"
[[ $code == 1 && $output == *"$words"* ]] || { echo "expected: exit code 1, and '$words'" && exit 1; }
