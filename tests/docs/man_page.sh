#!/usr/bin/env bash
# man_page.sh SLAT PAGE: every command and every long option that `slat --help` lists, and the help of each command, is in
# the man page, and nothing else. The page says in comments what stands where; see its top.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}") program=$1 page=$2

in_page() {
  awk '
    function option(name) {
      if (where == "") { printf "%s:%d: --%s stands behind no command: or group:\n", FILENAME, FNR, name; exit 1 }
      if (where in is_group) of_group[where] = of_group[where] " " name
      else print where " --" name
    }
    /^\.\\" command: / { where = substr($0, 14); print where; next }
    /^\.\\" group: / { where = "group " substr($0, 12); is_group[where]; next }
    /^\.\\" has: / { sub(/^\.\\" has: /, ""); has[where] = $0; next }
    /^\.(Ss|Sh) / { where = "" }
    /^\.It / {
      # The options of an item are its own words; those of `.It Cm storm Op Fl -rate` are shown, and listed below.
      if ($2 == "Fl") option(substr($3, 2))
    }
    END {
      for (command in has) {
        groups = split(has[command], group, " ")
        for (i = 1; i <= groups; ++i) {
          if (!("group " group[i] in of_group)) { print command ": no group " group[i]; continue }
          names = split(of_group["group " group[i]], name, " ")
          for (j = 1; j <= names; ++j) print command " --" name[j]
        }
      }
    }' "$page"
}

# Not only in comments: the name of each command is in the text beside its comment.
unnamed=$(awk '
  { line[FNR] = $0 }
  END {
    for (i = 1; i <= FNR; ++i)
      if (line[i] ~ /^\.\\" command: slat ./) {
        words = split(line[i], word, " ")
        pattern = "^\\.(Ss|It) .*" word[words] "( |$)"
        if (line[i - 1] !~ pattern && line[i + 1] !~ pattern && line[i + 2] !~ pattern)
          print "  " substr(line[i], 14)
      }
  }' "$page")

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$here/help_tree.sh" "$program" | sort >"$scratch/help"
in_page | sort >"$scratch/page"
(($(wc -l <"$scratch/help") > 20)) || { echo "slat --help lists next to nothing: help_tree.sh does not understand it" && exit 1; }
missing=$(comm -23 "$scratch/help" "$scratch/page")
extra=$(comm -13 "$scratch/help" "$scratch/page")
[[ -z $missing ]] || printf 'not in %s, but in the help of slat:\n%s\n' "$page" "$missing"
[[ -z $extra ]] || printf 'in %s, but not in the help of slat:\n%s\n' "$page" "$extra"
[[ -z $unnamed ]] || printf 'in %s only as a comment, without an .Ss or .It beside it that names it:\n%s\n' "$page" "$unnamed"
[[ -z $missing$extra$unnamed ]]
