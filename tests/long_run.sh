#!/usr/bin/env bash
# Runs everything that looks for races, over and over, for a given time, and writes a report.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
  cat <<'HELP'
Usage: tests/long_run.sh [OPTION ...]
For the time given, in turn and with a new seed each: memstress guests under all
storms (accelerators x designs of VMA locks), the tests of `slat inval`, every
torture, and the exploration of every scenario at random. Writes a report with
totals. Ctrl-C ends it early, with the report.

  --minutes N    how long (30); what has begun is finished
  --seconds N    of one guest or torture (10)
  --memory SIZE  RAM of a guest (128M)
  --seed N       of the first round (1); each round adds one
  --report FILE  in Markdown (build/PRESET/long_run.md)
  --preset NAME  what to build and run (release)
  -h, --help     this text

Exit codes: 0 nothing was found, 1 something was, 64 wrong options.
HELP
}

minutes=30 seconds=10 memory=128M seed=1 report='' preset=release
while (($# > 0)); do
  case $1 in
  -h | --help) usage && exit ;;
  --minutes | --seconds | --memory | --seed | --report | --preset)
    (($# >= 2)) || { echo "long_run.sh: $1 needs a value" >&2 && exit 64; }
    declare "${1#--}=$2"
    shift
    ;;
  *) echo "long_run.sh: unknown option '$1' (see --help)" >&2 && exit 64 ;;
  esac
  shift
done
for number in "$minutes" "$seconds" "$seed"; do
  [[ $number =~ ^[0-9]+$ ]] || { echo "long_run.sh: '$number' is no number" >&2 && exit 64; }
done
build=$root/build/$preset
report=${report:-$build/long_run.md}
[[ -f $build/CMakeCache.txt ]] || cmake -S "$root" --preset "$preset" >/dev/null
cmake --build "$build" || exit 1
: >"$report" || exit 1

slat=$build/tools/slat/slat explore=$build/tests/explore/slat-explore
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
facts=$work/facts # group <tab> key <tab> number
: >"$facts"
failures=()
interrupted=no
trap 'interrupted=yes' INT TERM
began=$SECONDS deadline=$((SECONDS + 60 * minutes))
designs=(mmap-lock spf vma-rwsem vma-refcount)

fact() { printf '%s\t%s\t%s\n' "$@" >>"$facts"; }

over() { [[ $interrupted == yes ]] || ((SECONDS >= deadline)); }

# piece GROUP COMMAND...: runs it, output to $work/out, and keeps the output of what fails.
piece() {
  local group=$1 start=$SECONDS outcome=0
  shift
  printf '\r\033[K%3d of %d min, %d failures: %s' $(((SECONDS - began) / 60)) "$minutes" "${#failures[@]}" "$group" >&2
  "$@" >"$work/out" 2>"$work/err" || outcome=$?
  [[ $interrupted == no ]] || return 0 # cut short: not a result
  fact "$group" runs 1
  fact "$group" seconds $((SECONDS - start))
  ((outcome != 0)) || return 0
  fact "$group" failures 1
  failures+=("$(printf '%q ' "${@/#$root\//}")(exit code $outcome)"$'\n'"$(tail -n 30 "$work/err" "$work/out")")
}

# From a JSON line: the numbers of an object's members, but not of objects inside it.
numbers() { grep -oE '"[a-z0-9_]+":[0-9]+' | sed -E 's/"(.*)":/\1\t/'; }

guest() { # ACCEL DESIGN SEED
  piece "guest $1 $2" "$slat" stress --accel "$1" --vma-lock "$2" --cpus 2 --memory "size=$memory" \
    --seconds "$seconds" --seed "$3" --storm all --storm-rate 2000 --stats json
  local key value
  sed -nE 's/^(\{.*"verdict".*\})$/\1/p' "$work/out" >"$work/json"
  while IFS=$'\t' read -r key value; do
    case $key in
    access_count | page_visit_count | verified_page_count | mismatch_count | fault_count | fault_retry_count | \
      fault_wait_count | invalidate_count | invalidated_pages | reclaimed_pages | restored_pages | \
      write_tracked_pages | tracked_write_count | unwritten_page_count | discarded_page_count | \
      discarded_page_read_count | uffd_stale_count | poisoned_pages)
      fact "guest $1 $2" "$key" "$value"
      ;;
    esac
  done < <(numbers <"$work/json")
  sed -nE 's/.*"storm_ranges":\{([^}]*)\}.*/\1/p' "$work/json" | numbers | while IFS=$'\t' read -r key value; do
    fact "guest $1 $2" "storm $key" "$value"
  done
}

torture() { # NAME SEED [DESIGN]
  piece "torture $1${3:+ $3}" "$build/tests/torture/slat-torture-$1" --seconds "$seconds" --seed "$2" ${3:+--vma-lock "$3"}
}

exploration() { # SEED
  piece exploration "$explore" run --random 2000 --depth 6 --seed "$1"
  awk '{ for (i = 2; i < NF; ++i) if ($(i + 1) ~ /^executions/) sum += $i } END { print sum + 0 }' "$work/out" |
    while read -r sum; do fact exploration executions "$sum"; done
}

accels=(kvm soft)
[[ -r /dev/kvm && -w /dev/kvm ]] || {
  accels=(soft)
  echo "long_run.sh: no access to /dev/kvm: software vCPUs only" >&2
}
round=0
while ! over; do
  for accel in "${accels[@]}"; do
    for design in "${designs[@]}"; do over || guest "$accel" "$design" $((seed + round)); done
  done
  for design in "${designs[@]}"; do
    for name in mm dma vma_recycle; do over || torture "$name" $((seed + round)) "$design"; done
  done
  for name in rcu srcu tree notifier stage2; do over || torture "$name" $((seed + round)); done
  over || exploration $((seed + round))
  over || piece "slat inval" "$slat" inval run --seed $((seed + round)) --memory 64M --seconds 0.3
  round=$((round + 1))
done
printf '\r\033[K' >&2

{
  echo "# Long run"
  echo
  echo "\`tests/long_run.sh --minutes $minutes --seconds $seconds --memory $memory --seed $seed --preset $preset\`"
  echo
  echo "- $(date -u '+%Y-%m-%d %H:%M UTC'), $(((SECONDS - began) / 60)) min $(((SECONDS - began) % 60)) s, $round rounds$([[ $interrupted == no ]] || echo ', interrupted')"
  echo "- $(git -C "$root" describe --always --dirty 2>/dev/null || echo 'no repository'), Linux $(uname -r), $(nproc) CPUs, load average $(cut -d' ' -f1-3 /proc/loadavg)"
  echo "- ${#failures[@]} failures"
  echo
  echo "## Guests under all storms"
  echo
  echo "| | $(awk -F'\t' '$1 ~ /^guest/ { sub(/^guest /, "", $1); if (!seen[$1]++) printf "%s | ", $1 }' "$facts")all |"
  awk -F'\t' '
    $1 ~ /^guest/ {
      if (!(($1, "seen") in column)) { column[$1, "seen"] = 1; columns[++count] = $1 }
      if (!($2 in row)) { row[$2] = 1; rows[++lines] = $2 }
      sum[$2, $1] += $3; total[$2] += $3
    }
    END {
      printf "|---|"; for (i = 0; i <= count; ++i) printf "---|"; print ""
      for (r = 1; r <= lines; ++r) {
        printf "| %s |", rows[r]
        for (i = 1; i <= count; ++i) printf " %.0f |", sum[rows[r], columns[i]]
        printf " %.0f |\n", total[rows[r]]
      }
    }' "$facts"
  echo
  echo "## Tortures, explorations, tests"
  echo
  echo "| | runs | seconds | failures | executions |"
  echo "|---|---|---|---|---|"
  awk -F'\t' '
    $1 !~ /^guest/ { if (!($1 in seen)) { seen[$1] = 1; names[++count] = $1 } sum[$1, $2] += $3 }
    END { for (i = 1; i <= count; ++i) { n = names[i]
      printf "| %s | %d | %d | %d | %s |\n", n, sum[n, "runs"], sum[n, "seconds"], sum[n, "failures"], ((n, "executions") in sum) ? sum[n, "executions"] : "" } }' "$facts"
  if ((${#failures[@]} > 0)); then
    echo
    echo "## Failures"
    # shellcheck disable=SC2016 # fences of code, not commands
    for failure in "${failures[@]}"; do printf '\n```\n%s\n```\n' "$failure"; done
  fi
} >"$report"
cat "$report"
echo
echo "written: $report"
((${#failures[@]} == 0)) || exit 1
