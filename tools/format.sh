#!/usr/bin/env bash
# format.sh - lays out C and C++ as .clang-format and .clang-format-cpp say.
#   tools/format.sh [--check] [FILE...]     without files: everything git knows; --check only reports
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tool=${CLANG_FORMAT:-clang-format-14}
if ! command -v "$tool" >/dev/null; then
  echo "format: $tool is missing (tools/setup dev installs it). Other versions lay out differently; to use one all" \
    "the same, set CLANG_FORMAT." >&2
  exit 1
fi

mode=(-i)
if [[ ${1:-} == --check ]]; then
  mode=(--dry-run --Werror)
  shift
fi
if [[ $# -gt 0 ]]; then
  files=("$@")
else
  mapfile -t files < <(git ls-files --cached --others --exclude-standard -- '*.c' '*.h' '*.cpp' '*.hpp')
fi

c=() cpp=()
for file in "${files[@]}"; do
  [[ -f $file ]] || continue
  case $file in
    *.c | *.h) c+=("$file") ;;
    *.cpp | *.hpp) cpp+=("$file") ;;
  esac
done
status=0
[[ ${#c[@]} == 0 ]] || "$tool" "${mode[@]}" --style=file:.clang-format "${c[@]}" || status=1
[[ ${#cpp[@]} == 0 ]] || "$tool" "${mode[@]}" --style=file:.clang-format-cpp "${cpp[@]}" || status=1
exit $status
