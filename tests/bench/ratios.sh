#!/usr/bin/env bash
# Compares the ratios of this build with those in ratios.json, which were measured once and are kept in the repository:
# ratios within one run, never times. One that is worse by more than 15 % in five runs fails.
#   ratios.sh SLAT            compare
#   ratios.sh SLAT --write    measure, and write ratios.json anew (needs python3): the names that it has, or all
set -euo pipefail
slat=$1
here=$(dirname "${BASH_SOURCE[0]}")
baseline=$here/ratios.json

# Another processor has other ratios: what a cache miss costs in instructions, say. ratios.cpu names the one of the baseline.
cpu=$(awk -F '\t*: ' '!($1 in seen) && $1 ~ /^(model name|cpu family|model|stepping)$/ { seen[$1]; printf "%s%s %s", sep, $1, $2; sep = ", " }' /proc/cpuinfo)
if [[ ${2:-} == --write ]]; then
  echo "$cpu" >"$here/ratios.cpu"
elif [[ $cpu != "$(<"$here/ratios.cpu")" ]]; then
  echo "skipped: ratios.json was measured on '$(<"$here/ratios.cpu")', this is '$cpu'"
  exit 77
fi

# What is measured: few cells, each for long enough to repeat within a few percent on a machine that has nothing else
# to do. One thread, for two on two CPUs are at the mercy of whatever else runs.
benches=(
  "mmu --rounds 9 --cell-ms 40 --threads 1 --writer-rate 0 --workload lookup,lock,fault,map-unmap,own-vma"
  "stage2 --rounds 9 --threads 1"
  "uffd --rounds 7 --memory size=32M"
  "invalidate --rounds 5 --memory size=128M --accel kvm --ranges 64"
)

failed=()
runs=()
for bench in "${benches[@]}"; do
  read -ra words <<<"$bench"
  echo "== slat bench $bench"
  if [[ ${2:-} == --write ]]; then
    runs+=("$("$slat" bench "${words[@]}" --json)")
    continue
  fi
  code=0
  "$slat" bench "${words[@]}" --compare "$baseline" --attempts 5 || code=$?
  case $code in
  0) ;;
  69 | 77) echo "skipped inside: bench ${words[0]}: no guest can run on KVM here" ;;
  *) failed+=("${words[0]} (exit code $code)") ;;
  esac
done

if [[ ${2:-} == --write ]]; then
  printf '%s\n' "${runs[@]}" | python3 -c '
import json, sys
path = sys.argv[1]
try:
    known = {r["name"] for run in json.load(open(path)) for r in run["ratios"]}
except FileNotFoundError:
    known = None
runs = []
for line in sys.stdin:
    run = json.loads(line)
    ratios = [{"name": r["name"], "median": round(r["median"], 3)} for r in run["ratios"]
              if known is None or r["name"] in known]
    runs.append({"schema": run["schema"], "bench": run["bench"], "ratios": ratios})
json.dump(runs, open(path, "w"), indent=1)
open(path, "a").write("\n")' "$baseline"
  exit
fi
((${#failed[@]} == 0)) || { echo "failed: ${failed[*]}" >&2 && exit 1; }
