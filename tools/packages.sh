# shellcheck shell=bash disable=SC2034
# What demo.sh and test.sh need and do before they build. Sourced by both: the list of Debian 12 packages, each with a
# probe for systems where the names differ, and the steps that they share. tools/cmake/SlatDependencies.cmake is what
# looks for the libraries in the end.

# package            probe: cmd:PROGRAM, or a header that a C++ compiler must find
slat_release_packages='
g++                  cmd:g++
cmake                cmd:cmake
ninja-build          cmd:ninja
pkg-config           cmd:pkg-config
linux-libc-dev       linux/userfaultfd.h
liburcu-dev          urcu/urcu-bp.h
libmimalloc-dev      mimalloc.h
libfmt-dev           fmt/format.h
libexpected-dev      tl/expected.hpp
libcli11-dev         CLI/CLI.hpp
nlohmann-json3-dev   nlohmann/json.hpp
libzydis-dev         Zydis/Zydis.h
libzycore-dev        Zycore/Types.h
libzstd-dev          zstd.h
libseccomp-dev       seccomp.h
libgtest-dev         gtest/gtest.h
libgmock-dev         gmock/gmock.h
libbenchmark-dev     benchmark/benchmark.h
'
# Sanitizers and fuzzers (clang-19), models (relacy, spin), the format check, the API reference, counts of instructions (valgrind).
slat_test_packages='
clang-19             cmd:clang++-19
libclang-rt-19-dev   cmd:clang++-19
clang-format-19      cmd:clang-format-19
relacy-dev           relacy/relacy.hpp
spin                 cmd:spin
doxygen              cmd:doxygen
util-linux           cmd:setarch
valgrind             cmd:valgrind
zsh                  cmd:zsh
fish                 cmd:fish
groff-base           cmd:groff
mandoc               cmd:mandoc
'

# The nested host (nested/run.sh), and what its tests take along.
slat_nested_packages='
qemu-system-x86      cmd:qemu-system-x86_64
busybox-static       cmd:busybox
cpio                 cmd:cpio
binutils             cmd:strip
'

slat_nested_test_packages="$slat_nested_packages
e2fsprogs            cmd:mke2fs
"
slat_nested_long_packages='
memtester            cmd:memtester
stress-ng            cmd:stress-ng
'

# What draws the pages of slat report in their test (tests/browser).
slat_browser_packages='
chromium             cmd:chromium
fonts-dejavu-core    cmd:chromium
python3              cmd:python3
'

slat_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
slat_program=$(basename "$0")

step() { printf '== %s\n' "$*"; }

# die CODE MESSAGE
die() {
  printf '%s: %s\n' "$slat_program" "$2" >&2
  exit "$1"
}

# usage_error MESSAGE
usage_error() { die 64 "$1 (see $slat_program --help)"; }

# need_number OPTION VALUE: a whole number from 1 up.
need_number() {
  [[ $2 =~ ^[1-9][0-9]{0,8}$ ]] || usage_error "$1 '$2': give a whole number from 1 up"
}

is_debian_12() {
  [[ -r /etc/os-release ]] && (. /etc/os-release && [[ ${ID:-} == debian && ${VERSION_ID:-} == 12 ]]) &&
    command -v dpkg-query apt-get >/dev/null
}

# A dry-run compile tells whether a header is there, wherever this system keeps it.
has_probe() {
  case $1 in
  cmd:*) command -v "${1#cmd:}" >/dev/null ;;
  *) command -v g++ >/dev/null && printf '#include <%s>\n' "$1" | g++ -std=c++20 -M -x c++ - >/dev/null 2>&1 ;;
  esac
}

# Prints the packages of the list (standard input) that are missing, one a line.
missing_packages() {
  local package probe debian=no
  is_debian_12 && debian=yes
  while read -r package probe; do
    [[ -n $package ]] || continue
    if [[ $debian == yes ]]; then
      [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || echo "$package"
    else
      has_probe "$probe" || echo "$package"
    fi
  done
}

# install_packages LIST: has everything of the list installed, or ends the script and says what is missing.
install_packages() {
  local -a missing sudo=()
  mapfile -t missing < <(missing_packages <<<"$1")
  ((${#missing[@]} == 0)) && return
  if ! is_debian_12; then
    die 69 "this is not Debian 12, and nothing is installed here. Missing, by Debian's names: ${missing[*]}.
Install what this system calls them, and run $slat_program again."
  fi
  step "packages: installing ${missing[*]}"
  if ((EUID != 0)); then
    command -v sudo >/dev/null ||
      die 77 "not root, and there is no sudo. As root: apt-get install --no-install-recommends ${missing[*]}"
    sudo=(sudo)
  fi
  local -a apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y)
  # One source out of reach is no reason to stop: the packages may come from another.
  "${apt[@]}" update </dev/null || step "note: apt-get update failed (above); trying all the same"
  "${apt[@]}" install --no-install-recommends "${missing[@]}" </dev/null ||
    die 69 "apt-get install failed (above): check the network and /etc/apt. By hand: apt-get install --no-install-recommends ${missing[*]}"
}

# writable_directory PATH: makes it if it is not there.
writable_directory() {
  if ! mkdir -p "$1" 2>/dev/null || [[ ! -w $1 ]]; then
    die 77 "cannot write to $1: made by root? sudo chown -R $(id -un) '$slat_root/build'"
  fi
}

# configure PRESET [-DNAME=VALUE ...]: only where it has not been done, or the presets changed since, or it was with other
# values; ninja sees to the rest.
configure() {
  local dir=$slat_root/build/$1 values=${*:2}
  if [[ -f $dir/build.ninja && -f $dir/.configured && ! $slat_root/CMakePresets.json -nt $dir/.configured &&
    (-z $values || $values == "$(<"$dir/.configured")") ]]; then
    return
  fi
  writable_directory "$dir"
  local -a launcher=()
  if command -v ccache >/dev/null; then
    launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  fi
  step "configure $1"
  (cd "$slat_root" && cmake --preset "$1" "${launcher[@]}" "${@:2}") || return
  echo "$values" >"$dir/.configured"
}

# build PRESET JOBS [TARGET ...]
build() {
  local preset=$1 jobs=$2
  shift 2
  step "build $preset"
  ninja -C "$slat_root/build/$preset" -j "$jobs" "$@"
}
