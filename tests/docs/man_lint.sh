#!/usr/bin/env bash
# man_lint.sh PAGE: groff formats the man page without a warning; so does mandoc, where it is installed.
set -uo pipefail
page=$1
if ! command -v groff >/dev/null; then
  echo "skipped: groff is not installed"
  exit 77
fi
# -mandoc takes -mdoc for this page. Its macros may be missing: Debian's groff-base has them, a smaller one may not.
said=$(groff -mandoc -Tutf8 -ww "$page" 2>&1 >/dev/null)
if [[ $said == *"can't"*"macro file"* || $said == *"cannot"*"macro"* ]]; then
  echo "skipped: groff has no macros for man pages"
  exit 77
fi
text=$(groff -mandoc -Tascii -P-c "$page" 2>/dev/null | sed 's/.\x08//g')
[[ $text == *"EXIT STATUS"* ]] || said+="no EXIT STATUS in what groff makes of it"
if command -v mandoc >/dev/null; then
  said+=$(mandoc -T lint -W warning "$page")
else
  echo "skipped inside: mandoc is not installed, groff alone looked at the man page"
fi
[[ -z $said ]] || { printf '%s\n' "$said" && exit 1; }
