#!/usr/bin/env bash
# check.sh says so when a path has become longer or shorter, is new or gone, and skips what the table does not speak for.
set -euo pipefail
check=$(dirname "${BASH_SOURCE[0]}")/check.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

printf '# compiler: g++ 12\nshort 50.0\nlong 1000.0\n' >"$work/expected"

# expect CODE TEXT LINES: the verdict on a table of these lines.
expect() {
  local code=0 output
  printf '%b' "$3" >"$work/counts"
  output=$("$check" --expected "$work/expected" --counts "$work/counts" 2>&1) || code=$?
  if [[ $code != "$1" || $output != *"$2"* ]]; then
    printf 'check_test: wanted %s and "%s", got %s:\n%s\n' "$1" "$2" "$code" "$output" >&2
    failed=1
  fi
}

expect 0 'ok     long' '# compiler: g++ 12\nshort 50.0\nlong 1000.0\n'
expect 0 'ok     long' '# compiler: g++ 12\nshort 53.0\nlong 1022.0\n' # 2 % and 2
expect 1 'MORE   long' '# compiler: g++ 12\nshort 50.0\nlong 1022.1\n'
expect 1 'MORE   short' '# compiler: g++ 12\nshort 53.1\nlong 1000.0\n'
expect 1 'FEWER  long' '# compiler: g++ 12\nshort 50.0\nlong 977.9\n'
expect 1 'check.sh --write' '# compiler: g++ 12\nshort 50.0\nlong 900.0\n'
expect 1 'GONE   long' '# compiler: g++ 12\nshort 50.0\n'
expect 1 'NEW    other' '# compiler: g++ 12\nshort 50.0\nlong 1000.0\nother 5.0\n'
expect 77 'skipped: ' '# compiler: clang 19\nshort 50.0\nlong 1000.0\n'
expect 77 'skipped: ' 'short 50.0\nlong 1000.0\n'
exit "$failed"
