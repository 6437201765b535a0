#!/usr/bin/env bash
# Builds slat, boots its hello guest, runs the memory-stress guest while the host takes the guest's memory away, and
# says whether both were right. From a fresh Debian 12 to a verdict.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=packages.sh
. "$(dirname "${BASH_SOURCE[0]}")/packages.sh"

usage() {
  cat <<'HELP'
Usage: demo.sh [OPTION ...]
Installs the packages that are missing (Debian 12, as root or with sudo), builds
the release preset, boots the guest hello, and runs `slat stress --storm zap`.

  --seconds N    how long to stress (20)
  --cpus N       virtual CPUs of the stress guest (2)
  --memory SIZE  its RAM, as for slat: size=512M
  --jobs N       parallel compilations (all CPUs)
  -h, --help     this text

Exit codes: 0 PASS, 1 a wrong verdict, 64 wrong options, 69 something is missing
here, 77 no permission; otherwise slat's own (slat --help).
The guests run on KVM where /dev/kvm and userfaultfd can be used (run as root
where this user may not), else on software vCPUs.
HELP
}

seconds=20 cpus=2 memory=size=512M jobs=$(nproc)
while (($# > 0)); do
  option=$1
  case $option in
  -h | --help) usage && exit ;;
  --*=*) # --option=value is --option value
    set -- "${option%%=*}" "${option#*=}" "${@:2}"
    continue
    ;;
  --seconds | --cpus | --memory | --jobs) (($# >= 2)) || usage_error "$option needs a value" ;;
  *) usage_error "unknown option '$option'" ;;
  esac
  [[ $option == --memory ]] || need_number "$option" "$2"
  printf -v "${option#--}" '%s' "$2"
  shift 2
done

# Set in the table below; -: not run.
hello_code=- stress_code=-

finish() {
  local verdict=FAIL code=1
  if [[ $hello_code == 0 && $stress_code == 0 ]]; then
    verdict=PASS code=0
  else
    # What slat said about this host tells more than "wrong".
    local seen
    for seen in "$hello_code" "$stress_code"; do
      [[ $seen == - || $seen == 0 ]] || { code=$seen && break; }
    done
  fi
  step "verdict"
  printf '  %-28s %20s\n' "hello: exit code" "$hello_code" "slat stress: exit code" "$stress_code"
  if [[ -s $log ]]; then # name and value of each row, as slat stress printed them
    awk '/^slat stress: / { printf "  %-28s %20s\n", "memstress", substr($0, 14) }
         /^  (page visits|pages verified|faults served|pages invalidated|mismatches|time \(s\)) / ||
         /^  fault latency / { print }
         /^  time \(s\) / { time = $NF }
         /^  faults served / { faults = $NF }
         END { if (time > 0) printf "  %-28s %20d\n", "faults/s", faults / time }' "$log"
  fi
  echo "demo: $verdict"
  exit "$code"
}

install_packages "$slat_release_packages"
configure release
build release "$jobs" slat slat_guest_hello
slat=$slat_root/build/release/tools/slat/slat
hello=$slat_root/build/release/tools/guests/hello.elf
log=$(mktemp)
trap 'rm -f "$log"' EXIT

step "slat boot --kernel hello.elf --cmdline 'hello from demo.sh'"
hello_code=0
"$slat" boot --kernel "$hello" --cmdline "hello from demo.sh" || hello_code=$?
[[ $hello_code == 0 ]] || finish

step "slat stress --cpus $cpus --memory $memory --seconds $seconds --storm zap"
stress_code=0
# Only standard output is copied, so that the progress line (standard error) stays a line on the terminal.
"$slat" stress --cpus "$cpus" --memory "$memory" --seconds "$seconds" --storm zap | tee "$log" || stress_code=$?
finish
