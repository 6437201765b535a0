#!/usr/bin/env bash
# Runs every mutant of the protocols and prints who kills it; mutants.md keeps the table.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
  cat <<'HELP'
Usage: tests/mutants.sh [OPTION ...]
Builds the mutants (copies of the product's sources with one protocol bug each)
and runs each against the test that must kill it, within that test's time box.
Prints a table of mutant, killer, how, and seconds.

  --preset NAME  build/NAME (release); no sanitizer presets
  --write        also writes the table, without the seconds, to tests/mutants.md
  --jobs N       at a time (all CPUs)
  -h, --help     this text

Exit codes: 0 all killed, 1 one survived or did not build, 64 wrong options.
HELP
}

preset=release write=no jobs=$(nproc)
while (($# > 0)); do
  case $1 in
  -h | --help) usage && exit ;;
  --write) write=yes ;;
  --preset | --jobs)
    (($# >= 2)) || { echo "mutants.sh: $1 needs a value" >&2 && exit 64; }
    if [[ $1 == --jobs ]]; then jobs=$2; else preset=$2; fi
    shift
    ;;
  *) echo "mutants.sh: unknown option '$1' (see --help)" >&2 && exit 64 ;;
  esac
  shift
done
build=$root/build/$preset
cmake -S "$root" --preset "$preset" -DSLAT_MUTANTS=all >/dev/null
cmake --build "$build" -j "$jobs" || exit 1

pattern='(model\.refuted\.|explore\.refuted\.I)'
log=$(mktemp) && trap 'rm -f "$log"' EXIT
outcome=0
ctest --test-dir "$build" -j "$jobs" -R "$pattern" --no-tests=error >"$log" 2>&1 || outcome=$?

# Name, killer and how, from the commands that CTest runs.
commands() {
  ctest --test-dir "$build" -N -V -R "$pattern" | awk '
    function quoted(name,   at, rest) { # the value of -DNAME= or NAME=
      at = match(line, name "=[^\"]*"); rest = substr(line, at, RLENGTH); sub(/^[^=]*=/, "", rest); return at ? rest : ""
    }
    /Test command:/ { line = $0 }
    /^ *Test +#/ {
      name = $NF
      if (line ~ /SPIN=/) { killer = "spin: " quoted("MODEL"); sub(/spin: .*\//, "spin: ", killer); how = quoted("REFUTED_BY") }
      else if (line ~ /PROGRAM=/) { killer = "slat-explore: " quoted("SCENARIO"); how = quoted("BY") }
      else {
        n = split(line, part, "\""); killer = "relacy: " part[n - 1]; how = ""
        for (i = 2; i < n; ++i) if (part[i] == "--refuted-by") how = how (how == "" ? "" : ", ") part[i + 2]
      }
      print name "\t" killer "\t" tolower(how)
    }'
}

table=$(commands)
total=$(wc -l <<<"$table")
killed=0
printf '%-58s %-34s %-9s %s\n' mutant killer verdict seconds
while IFS=$'\t' read -r name killer _; do
  result=$(grep -F " $name " "$log" | tail -n 1) || result=
  seconds=$(grep -oE '[0-9.]+ sec' <<<"$result" | tail -n 1) || seconds='?'
  verdict=SURVIVED
  if [[ $result == *Passed* ]]; then
    verdict=killed
    killed=$((killed + 1))
  fi
  printf '%-58s %-34s %-9s %s\n' "${name/refuted./}" "$killer" "$verdict" "${seconds% sec}"
done <<<"$table"
echo "$killed of $total mutants killed"

if [[ $write == yes ]]; then
  {
    cat <<'TEXT'
# Mutants

Written by `tests/mutants.sh --write`: copies of the product with one protocol bug each, and the test that kills it. A
name begins with the invariant that the bug breaks. What each changes stands in `model/*.cmake`, `model/spin/` and
`explore/mutants.cmake`; why it is a bug, in `model/README.md` and `explore/README.md`.

| mutant | killed by | seen as |
|---|---|---|
TEXT
    sed -E 's/^(model|explore)\.refuted\.//; s/\|/ or /g' <<<"$table" | awk -F'\t' '{ printf "| `%s` | %s | %s |\n", $1, $2, $3 }'
  } >"$root/tests/mutants.md"
  echo "written: tests/mutants.md"
fi
((outcome == 0 && killed == total)) || exit 1
