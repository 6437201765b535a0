# shellcheck shell=bash
# The root file systems of the nested host and of a Linux guest in it. Sourced by run.sh, after kernel.sh.

# executable NAME: the file of a command of this machine; slat and slat-full are those that were built.
executable() {
  if [[ $1 == slat || $1 == slat-full ]]; then
    echo "$build_dir/tools/slat/$1"
  else
    PATH=$PATH:/usr/sbin:/sbin type -P -- "$1" || die 64 "no command '$1' on this machine (see $slat_program --help)"
  fi
}

# take ROOT FILE [TO]: at the same place, or at TO. Debug information stays here.
take() {
  local to=$1${3:-$2}
  [[ ! -e $to ]] || return 0
  mkdir -p "$(dirname "$to")"
  strip -g -o "$to" "$2" 2>/dev/null || cp -L "$2" "$to"
}

# take_program ROOT NAME: as /usr/bin/NAME, with the libraries that it is linked to.
take_program() {
  local root=$1 file library
  file=$(executable "$2")
  take "$root" "$file" "/usr/bin/$(basename "$2")"
  chmod 755 "$root/usr/bin/$(basename "$2")"
  [[ $2 != slat ]] || take_program "$root" slat-full # which slat becomes for most of its commands
  while read -r library; do
    take "$root" "$library"
  done < <(ldd "$file" 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }')
}

# base ROOT INIT: what both have.
base() {
  mkdir -p "$1"/{bin,dev,proc,sbin,sys,tmp,usr/bin}
  take "$1" /bin/busybox
  take "$1" "$exit_port" /bin/slat-nested-exit
  install -m 755 "$slat_root/tools/nested/$2" "$1/init"
}

# pack FOLDER FILE: an initial RAM file system.
pack() { (cd "$1" && find . -print0 | cpio --null -o -H newc --quiet | gzip -1) >"$2"; }

quoted() { printf "'%s' " "${@//\'/\'\\\'\'}"; }

make_linux_guest() {
  local root=$work/guest name
  base "$root" guest_init
  take_modules "$root" "${guest_modules[@]}"
  for name in "${guest_programs[@]}"; do take_program "$root" "$name"; done
  for name in "${guest_files[@]}"; do take "$root" "$(realpath -s "$name")"; done
  mkdir -p "$work/root/boot"
  pack "$root" "$work/root/boot/initrd"
  cp "$kernel/vmlinuz" "$work/root/boot/vmlinuz"
}

# make_root COMMAND...: the nested host's, in $work/initrd.gz.
make_root() {
  local root=$work/root name
  base "$root" init
  take_modules "$root" "${host_modules[@]}"
  for name in "$1" "${programs[@]}"; do take_program "$root" "$name"; done
  for name in "${files[@]}"; do take "$root" "$(realpath -s "$name")"; done
  [[ $linux_guest == no ]] || make_linux_guest
  [[ ! -t 1 ]] || : >"$root/on-a-terminal"
  {
    for name in "${variables[@]}"; do printf 'export %s=%s\n' "${name%%=*}" "$(quoted "${name#*=}")"; done
    printf 'exec %s\n' "$(quoted "/usr/bin/$(basename "$1")" "${@:2}")"
  } >"$root/job"
  pack "$root" "$work/initrd.gz"
}
