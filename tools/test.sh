#!/usr/bin/env bash
# Builds and runs every test in the presets asked for, and ends in a table and in CTest's own summaries.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=packages.sh
. "$(dirname "${BASH_SOURCE[0]}")/packages.sh"

usage() {
  cat <<'HELP'
Usage: test.sh [OPTION ...]
Installs the packages that are missing (Debian 12, as root or with sudo), then
configures, builds and tests these presets: asan-clang, tsan-clang, release.
Tests that this host cannot run (no /dev/kvm, say) are skipped, counted, and
listed with their reasons.

  --quick          release only
  --long           also what CI has no time for: all mutants of the protocols,
                   which models must refute, all tests in the nested host,
                   tortures and fuzzers ten times as long (an hour or so)
  --no-nested      nothing in the nested host (tools/nested): two minutes less,
                   and no QEMU to install
  --no-browser     none of the tests that draw pages: no Chromium to install
                   (120 MB)
  --all            every preset of CMakePresets.json: also debug, and each with
                   the other compiler
  --preset NAME    this preset instead of all; may be given several times
  -L, --label RE   only tests with a label that matches (ctest -L); see
                   tests/README.md for the labels
  --jobs N         parallel compilations (all CPUs); half as many tests more, for
                   many wait for a guest or for the clock
  -h, --help       this text

Exit codes: 0 all passed, 1 a build or a test failed, 64 wrong options,
69 something is missing here, 77 no permission.
HELP
}

presets=() label='' jobs=$(nproc) quick=no all=no long=no nested=yes browser=yes
while (($# > 0)); do
  option=$1
  case $option in
  -h | --help) usage && exit ;;
  --quick) quick=yes && shift && continue ;;
  --all) all=yes && shift && continue ;;
  --long) long=yes && shift && continue ;;
  --no-nested) nested=no && shift && continue ;;
  --no-browser) browser=no && shift && continue ;;
  --*=*) # --option=value is --option value
    set -- "${option%%=*}" "${option#*=}" "${@:2}"
    continue
    ;;
  --preset | --label | -L | --jobs) (($# >= 2)) || usage_error "$option needs a value" ;;
  *) usage_error "unknown option '$option'" ;;
  esac
  case $option in
  --preset) presets+=("$2") ;;
  --jobs) need_number "$option" "$2" && jobs=$2 ;;
  *) label=$2 ;;
  esac
  shift 2
done
[[ $quick$all == nono || ${#presets[@]} == 0 ]] || usage_error "--quick, --all and --preset exclude each other"
[[ $quick$all != yesyes ]] || usage_error "--quick and --all exclude each other"
known=$(sed -n 's/.*{ "name": "\([a-z-]*\)", "configurePreset".*/\1/p' "$slat_root/CMakePresets.json" | sort -u)
for preset in "${presets[@]}"; do
  grep -qx -- "$preset" <<<"$known" || usage_error "no preset '$preset'; there are: ${known//$'\n'/, }"
done

packages=$slat_release_packages
if [[ $quick == yes ]]; then
  presets=(release)
elif ((${#presets[@]} == 0)); then
  # release comes last, so that what users build has the last word.
  presets=(asan-clang tsan-clang release)
  [[ $all == no ]] || presets=(debug debug-clang asan asan-clang tsan tsan-clang release-clang release)
fi
[[ $quick == yes ]] || packages+=$slat_test_packages

case $nested$long in
yesyes) without='' ;;
yesno) without='^nested-long$' ;;
*) without='^nested' ;;
esac
[[ $browser == yes ]] || without+=${without:+|}^browser\$
for preset in "${presets[@]}"; do # neither shows anything under sanitizers
  [[ $nested == no || $preset == *san* ]] || packages+=$slat_nested_test_packages
  [[ $long == no || $nested == no || $preset == *san* ]] || packages+=$slat_nested_long_packages
  [[ $browser == no || $preset == *san* ]] || packages+=$slat_browser_packages
done

results=$slat_root/build/test-results
failed=() rows=()

# attribute NAME FILE: of the test suite in a JUnit file.
attribute() { sed -n "/<testsuite /,/>/s/.*[ \t]$1=\"\([0-9]*\)\".*/\1/p" "$2" | head -n 1; }

# XML's text as it was.
plain_text() { sed 's/&quot;/"/g; s/&apos;/'\''/g; s/&lt;/</g; s/&gt;/>/g; s/&amp;/\&/g'; }

# The reasons of skipped tests in a JUnit file, and of skipped parts of others, each with its count. GoogleTest prints a reason below "Skipped"; scripts
# print "skipped: reason".
skip_reasons() {
  awk '{ sub(/<\/system-out>/, "") }
       /<testcase /  { skipped = 0; reason = ""; next_line = 0 }
       /<skipped/    { skipped = 1 }
       next_line && NF { reason = $0; next_line = 0 }
       /: Skipped$/  { next_line = 1 }
       /skipped: /   { reason = $0; sub(/.*skipped: /, "", reason) }
       /skipped inside: / { part = $0; sub(/.*skipped inside: /, "", part); inside[part]++ }
       /<\/testcase>/ { if (skipped) count[reason == "" ? "no reason given" : reason]++ }
       END { for (reason in count) printf "    %4d skipped: %s\n", count[reason], reason
             for (part in inside) printf "    %4d skipped inside a passed test: %s\n", inside[part], part }' "$1" |
    plain_text | sort -rn
}

# The last lines that the failed tests of a JUnit file said, the first of them: what is to be looked at comes last.
failed_output() {
  awk -v tests=5 -v lines=30 '
       function show(   i) {
         if (failed && shown++ < tests) {
           printf "-- %s\n", name
           for (i = count > lines ? count - lines : 0; i < count; ++i) print text[i]
         }
         failed = 0
       }
       /<testcase /   { name = $0; sub(/.*<testcase name="/, "", name); sub(/".*/, "", name); failed = 0; count = 0; inside = 0 }
       /<failure/     { failed = 1 }
       /<system-out>/ { inside = 1; sub(/.*<system-out>/, "") }
       inside         { line = $0; sub(/<\/system-out>.*/, "", line); if (line != "") text[count++] = line }
       /<\/system-out>/ { inside = 0 }
       /<\/testcase>/ { show() }' "$1" |
    plain_text
}

# row PRESET TESTS PASSED FAILED SKIPPED SECONDS
row() { rows+=("$(printf '  %-16s %7s %7s %7s %8s %9s' "$@")"); }

# summary PRESET: what ctest said at the end of its run.
summary() { sed -n '/% tests passed/,$p' "$results/$1.log"; }

run_tests() {
  local preset=$1 start=$SECONDS
  local xml=$results/$preset.xml outcome=0
  local -a ctest=(ctest --test-dir "$slat_root/build/$preset" -j $((jobs * 3 / 2)) --output-on-failure --no-tests=error
    --output-junit "$xml")
  [[ -z $label ]] || ctest+=(-L "$label")
  [[ -z $without ]] || ctest+=(-LE "$without")
  rm -f "$xml"
  step "test $preset"
  "${ctest[@]}" </dev/null 2>&1 | tee "$results/$preset.log" || outcome=$?
  if [[ ! -s $xml ]]; then
    failed+=("$preset: no test was run")
    row "$preset" 0 - - - -
    return
  fi
  local tests bad skipped
  tests=$(attribute tests "$xml") bad=$(attribute failures "$xml")
  skipped=$(($(attribute skipped "$xml") + $(attribute disabled "$xml")))
  row "$preset" "$tests" $((tests - bad - skipped)) "$bad" "$skipped" $((SECONDS - start))
  ((outcome == 0)) || failed+=("$preset: $bad of $tests tests failed")
}

install_packages "$packages"
writable_directory "$results"
rm -f "$results"/*.log "$results"/*.xml
[[ -r /dev/kvm && -w /dev/kvm ]] ||
  step "note: no access to /dev/kvm, so tests that boot guests on KVM will be skipped"

times=()
for preset in "${presets[@]}"; do
  start=$SECONDS
  outcome=0
  values=(-DSLAT_LONG_TESTS=$([[ $long == yes ]] && echo ON || echo OFF))
  if [[ $preset == release ]]; then # once is enough
    values+=(-DSLAT_MUTANTS=$([[ $long == yes ]] && echo all || echo core))
  fi
  { configure "$preset" "${values[@]}" && build "$preset" "$jobs"; } </dev/null || outcome=$?
  times+=("$(printf '%s %d s' "$preset" $((SECONDS - start)))")
  if ((outcome != 0)); then
    failed+=("$preset: it does not build")
    row "$preset" - - - - -
  else
    run_tests "$preset"
  fi
done

step "results (JUnit files in build/test-results)"
printf '  %-16s %7s %7s %7s %8s %9s\n' preset tests passed failed skipped seconds
printf '%s\n' "${rows[@]}"
printf '  build times:'
printf ' %s;' "${times[@]}"
echo
for preset in "${presets[@]}"; do
  if [[ -s $results/$preset.xml ]]; then
    reasons=$(skip_reasons "$results/$preset.xml")
    [[ -z $reasons ]] || printf '  %s\n%s\n' "$preset" "$reasons"
  fi
done
for preset in "${presets[@]}"; do
  if [[ -s $results/$preset.log ]]; then
    step "ctest summary: $preset"
    summary "$preset"
  fi
done
for preset in "${presets[@]}"; do
  if [[ -s $results/$preset.xml && $(attribute failures "$results/$preset.xml") != 0 ]]; then
    step "what failed tests said last: $preset (all of it in build/test-results/$preset.log)"
    failed_output "$results/$preset.xml"
  fi
done
for line in "${failed[@]}"; do
  printf 'test: FAIL: %s\n' "$line" >&2
done
((${#failed[@]} == 0)) || exit 1
