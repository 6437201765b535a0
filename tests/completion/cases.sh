# shellcheck shell=bash disable=SC2154
# What the tests of all three shells ask, and compare. Sourced with $slat (the program), $here (this directory) and a function
# candidates WORD...: prints the candidates for the last of the words of a command line, one a line, whole words.
# A file name may come with or without a slash or a space behind it.

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0 questions=0

# offered "WANTED ..." WORD...: exactly these.
offered() {
  local wanted got
  wanted=$(tr ' ' '\n' <<<"$1" | sed '/^$/d' | sort)
  shift
  got=$(candidates "$@" | sed '/^$/d' | sort -u)
  questions=$((questions + 1))
  [[ $wanted == "$got" ]] && return
  printf 'for: %s\n  expected: %s\n  got:      %s\n' "$*" "$(tr '\n' ' ' <<<"$wanted")" "$(tr '\n' ' ' <<<"$got")"
  failures=$((failures + 1))
}

options_and_commands() {
  # Every command offers the commands below it, and the long options that its help lists; `ctl COMMAND` those of ctl too.
  local tree command more own below
  tree=$("$here/../docs/help_tree.sh" "$slat")
  (($(wc -l <<<"$tree") > 20)) || { echo "slat --help lists next to nothing" && exit 1; }
  while read -r command; do
    more=
    [[ $command == "slat ctl "* ]] && more=$(awk '$1 == "slat" && $2 == "ctl" && $3 ~ /^--/ { print $3 }' <<<"$tree")
    own=$(awk -v command="$command" 'index($0, command " --") == 1 { print $NF }' <<<"$tree")
    # shellcheck disable=SC2086 # words
    offered "--help $more $own" $command --
    below=$(awk -v command="$command" 'index($0, command " ") == 1 && !/ --/ {
      rest = substr($0, length(command) + 2); if (rest !~ / /) print rest }' <<<"$tree")
    # shellcheck disable=SC2086
    [[ -z $below ]] || offered "$below" $command ''
  done < <(grep -v -- ' --' <<<"$tree")
}

values() {
  offered 'auto kvm soft' slat boot --accel ''
  offered 'soft' slat boot --rng --accel s
  offered '--accel=kvm' slat boot --accel=k
  offered 'vma-rwsem vma-refcount' slat stress --vma-lock vma-r
  offered 'kvm soft both' slat inval run --accel ''
  offered 'bash zsh fish' slat completion ''
  # With commas.
  offered 'readonly reclaim' slat stress --storm re
  offered 'zap,readonly zap,reclaim' slat stress --storm zap,re
  offered 'lookup,notify' slat bench mmu --workload lookup,n
  # What is no option's.
  offered 'off' slat ctl --api-socket /x storm of
  offered 'zap' slat inval run --seed 3 za
  # The value of an option is no command, nor the other way round.
  offered 'pause' slat ctl --api-socket storm pa
  offered 'status storm' slat ctl --timeout 3 --api-socket /x st
}

files() {
  mkdir "$scratch/images"
  : >"$scratch/images/vmlinux"
  : >"$scratch/images/disk.img"
  local images=$scratch/images
  offered "$images/vmlinux" slat boot --kernel "$images/v"
  offered "$images/vmlinux" slat boot --accel soft --initrd "$images/v"
  offered "$images/vmlinux $images/disk.img" slat dump stage2 --kernel "$images/"
  offered "path=$images/disk.img" slat boot --disk "path=$images/d"
  offered '' slat boot --cmdline "$images/v" # is no file
}

verdict() {
  echo "$questions questions, $failures wrong answers"
  ((questions > 40 && failures == 0))
}
