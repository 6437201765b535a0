# shellcheck shell=bash
# The kernel of the nested host and of a Linux guest in it, with the modules that they may want: Debian's cloud kernel,
# kept in build/nested. Sourced by run.sh, after packages.sh.

# What is in a folder of the cache: another number here, and it is filled anew.
cache_layout=2
host_modules=(kvm-amd)
# Those that the kernel has built in are no files, and no matter.
guest_modules=(virtio_mmio virtio_pci virtio_blk virtio_net virtio_balloon virtio_console virtio-rng ext4 crc32c-intel)

is_complete() { [[ -e $1/.complete && $(<"$1/.complete") == "$cache_layout" ]]; }

# module_files FOLDER NAME...: the files of these modules and of those that they need, as FOLDER/modules.dep has them.
module_files() {
  local folder=$1 name line
  shift
  for name; do
    name=${name//[-_]/[-_]}
    if line=$(grep -E "(^|/)$name\.ko:" "$folder/modules.dep"); then
      tr -d : <<<"$line" | tr ' ' '\n' | sed '/^$/d'
    elif ! grep -qE "(^|/)$name\.ko$" "$folder/modules.builtin"; then
      die 69 "the kernel has no module '$name', neither as a file nor built in"
    fi
  done | sort -u
}

# copy_modules FROM TO NAME...: with those that they need. FROM and TO are a kernel's lib/modules/VERSION.
copy_modules() {
  local from=$1 to=$2 list file
  shift 2
  list=$(module_files "$from" "$@")
  while read -r file; do
    mkdir -p "$to/$(dirname "$file")"
    cp "$from/$file" "$to/$file"
  done <<<"$list"
  cp "$from"/modules.{dep,builtin} "$to/"
}

# take_modules ROOT NAME...: into a root file system, where modprobe finds them.
take_modules() {
  local root=$1
  shift
  copy_modules "$kernel/modules" "$root/lib/modules/$(<"$kernel/version")" "$@"
}

# fetch_kernel: into $cache, once; sets $kernel to a folder with vmlinuz, modules and the kernel's version.
fetch_kernel() {
  local name version sum deb folder
  name=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends: linux-image/ { print $2; exit }')
  if [[ -z $name ]]; then # no package lists: what was fetched before does as well
    while read -r folder; do
      ! is_complete "$folder" || kernel=$folder
    done < <(find "$cache" -maxdepth 2 -name .complete -printf '%h\n' | sort -V)
    [[ -n ${kernel:-} ]] || die 69 "apt knows no linux-image-cloud-amd64: apt-get update, and mind that this takes Debian 12"
    return
  fi
  version=$(apt-cache policy "$name" | awk '/Candidate:/ { print $2 }')
  kernel=$cache/$name-${version//:/_}
  ! is_complete "$kernel" || return 0 # downloaded and checked
  step "kernel: downloading $name $version" >&2
  sum=$(apt-cache show "$name=$version" | awk '/^SHA256:/ { print $2; exit }')
  (cd "$work" && apt-get -q -o APT::Sandbox::User=root download "$name=$version" >/dev/null) ||
    die 69 "apt-get download $name=$version failed (above): check the network and /etc/apt"
  deb=$(find "$work" -name '*.deb')
  [[ $(sha256sum <"$deb") == "$sum  -" ]] || die 69 "$name $version is not what its package list says: SHA-256 differs"
  rm -rf "$kernel"
  mkdir -p "$kernel"
  dpkg-deb -x "$deb" "$work/kernel"
  cp "$work"/kernel/boot/vmlinuz-* "$kernel/vmlinuz"
  folder=$(find "$work/kernel/lib/modules" -mindepth 1 -maxdepth 1)
  basename "$folder" >"$kernel/version"
  busybox depmod -b "$work/kernel" "$(<"$kernel/version")"
  copy_modules "$folder" "$kernel/modules" "${host_modules[@]}" "${guest_modules[@]}"
  rm -rf "$work/kernel" "$deb"
  echo "$cache_layout" >"$kernel/.complete"
}
