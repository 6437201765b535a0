#!/usr/bin/env bash
# line_links.sh [--write] TREE: each link [`TEXT`](FILE#Ln) of the documents in docs/ leads to a line that has TEXT.
# --write: puts the number of the first line of FILE that has TEXT into each.
# shellcheck disable=SC2016 # backticks of Markdown
set -euo pipefail
write=no
[[ ${1:-} == --write ]] && write=yes && shift
cd "${1:?usage: line_links.sh [--write] TREE}/docs"
found=0 links=0
while IFS=: read -r page _ link; do
  [[ $link =~ ^\[\`(.*)\`\]\((.*)\#L([1-9][0-9]*)\)$ ]]
  text=${BASH_REMATCH[1]} file=${BASH_REMATCH[2]} line=${BASH_REMATCH[3]}
  links=$((links + 1))
  target=$(dirname "$page")/$file
  [[ -f $target && $(sed -n "${line}p" "$target") == *"$text"* ]] && continue
  now=$(grep -nF -m 1 -- "$text" "$target" | cut -d: -f1) || true
  if [[ $write == yes && -n $now ]]; then
    # Both as they stand, without a meaning for sed.
    quoted=$(printf '%s' "[\`$text\`]($file#L" | sed 's/[][\\.*^$/]/\\&/g')
    sed -i "s/${quoted}$line)/$(printf '%s' "[\`$text\`]($file#L" | sed 's/[\\&/]/\\&/g')$now)/" "$page"
  else
    echo "docs/$page: line $line of $file has no '$text'${now:+; line $now has}"
    found=1
  fi
done < <(grep -rnoE '\[`[^`]+`\]\([^)]+#L[1-9][0-9]*\)' --include='*.md' .)
((links > 0)) || { echo "no document has such a link: the pattern is wrong" && exit 1; }
((found == 0)) || { echo "mend: tests/docs/line_links.sh --write ." && exit 1; }
