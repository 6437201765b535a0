#!/usr/bin/env bash
# Counts instructions with valgrind and compares them with a table.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
  cat <<'HELP'
Usage: check.sh [--program FILE | --counts FILE] [--expected FILE] [--write | --show]
Runs slat_counts under valgrind's callgrind and compares the instructions of
each operation with the table of expected ones. More or fewer than expected by
over 2 % and 2 instructions is a failure: a path that has become shorter is to
be written down, or the next one that becomes longer goes unnoticed.

  --program FILE   build/release/tests/counts/slat_counts
  --counts FILE    compare these counts, which --show has printed, and run nothing
  --expected FILE  expected.txt beside this script
  --write          write the table instead of comparing
  --show           print the counts and compare nothing
  -h, --help       this text

Exit codes: 0 as expected, 1 not, 64 wrong options, 77 skipped: no valgrind, or
a compiler or C library that the table does not speak for.
HELP
}

program=$here/../../build/release/tests/counts/slat_counts expected=$here/expected.txt counts_file='' mode=compare
while (($# > 0)); do
  case $1 in
  -h | --help) usage && exit ;;
  --program | --expected | --counts)
    (($# >= 2)) || { echo "check.sh: $1 needs a value (see check.sh --help)" >&2; exit 64; }
    case $1 in
    --program) program=$2 ;;
    --expected) expected=$2 ;;
    *) counts_file=$2 ;;
    esac
    shift
    ;;
  --write) mode=write ;;
  --show) mode=show ;;
  *) echo "check.sh: unknown option '$1' (see check.sh --help)" >&2 && exit 64 ;;
  esac
  shift
done

skip() { echo "skipped: $1" && exit 77; }
fail() { echo "check.sh: $2" >&2 && exit "$1"; }
compiler_of() { sed -n 's/^# compiler: //p' "$1"; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [[ -n $counts_file ]]; then
  [[ -r $counts_file ]] || fail 64 "cannot read $counts_file"
  compiler=$(compiler_of "$counts_file")
else
  command -v valgrind >/dev/null || skip "valgrind is not installed (apt-get install valgrind)"
  [[ $program != none ]] || skip "valgrind/callgrind.h was not there when this was configured (apt-get install valgrind)"
  [[ -x $program ]] || fail 64 "$program is not there: build slat_counts"
  compiler=$("$program" --compiler)
fi
if [[ $mode == compare ]]; then
  [[ -r $expected ]] || fail 64 "cannot read $expected"
  of=$(compiler_of "$expected")
  [[ $compiler == "$of" ]] || skip "the expected counts are those of $of; this is $compiler"
fi

# count: the table on standard output. Callgrind leaves a dump "callgrind.N" for each path. Nothing of the environment
# gets into the program.
count() {
  env -i PATH="$PATH" LC_ALL=C valgrind --tool=callgrind --instr-atstart=no --collect-atstart=no --fair-sched=yes \
    --callgrind-out-file="$work/callgrind" "$program" >"$work/operations" 2>"$work/log" ||
    { cat "$work/log" >&2 && fail 1 "slat_counts failed under valgrind (above)"; }
  echo "# Instructions per operation, loop included. Written by tests/counts/check.sh --write."
  echo "# compiler: $compiler"
  local name operations file
  while read -r name operations; do
    file=$(grep -lx "desc: Trigger: Client Request: $name" "$work"/callgrind.[0-9]*) ||
      fail 1 "callgrind left nothing of $name"
    awk -v name="$name" -v n="$operations" \
      '/^totals: / { total = $2 } END { printf "%-40s %10.1f\n", name, total / n }' "$file"
  done <"$work/operations"
}

if [[ -z $counts_file ]]; then
  counts_file=$work/counts
  count >"$counts_file"
fi
case $mode in
show) cat "$counts_file" ;;
write) cp "$counts_file" "$expected" ;;
compare)
  awk '
    /^#/ || NF == 0 { next }
    NR == FNR { expected[$1] = $2; next }
    {
      seen[$1] = 1
      if (!($1 in expected)) {
        printf "NEW    %-40s %10.1f: no count is expected; check.sh --write\n", $1, $2
        bad++
        next
      }
      margin = expected[$1] * 0.02 + 2
      difference = $2 - expected[$1]
      verdict = difference > margin ? "MORE" : difference < -margin ? "FEWER" : "ok"
      printf "%-6s %-40s %10.1f expected %10.1f  %+.1f\n", verdict, $1, $2, expected[$1], difference
      if (verdict != "ok") bad++
      if (verdict == "FEWER") fewer++
    }
    END {
      for (name in expected) if (!(name in seen)) { printf "GONE   %s: expected, and not counted\n", name; bad++ }
      if (fewer) print "FEWER is an improvement: keep it with check.sh --write"
      if (bad) { printf "%d path(s) not as expected\n", bad; exit 1 }
    }' "$expected" "$counts_file"
  ;;
esac
