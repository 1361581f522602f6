#!/usr/bin/env bash
# lint.sh - layout, house rules and clang-tidy. `make lint` runs it; nothing is changed.
#   tools/lint.sh          clang-tidy on the files that differ from the last commit
#   tools/lint.sh REV      ... from REV, say origin/main
#   tools/lint.sh --all    ... on every source
# clang-tidy needs compile commands, so the asan preset is configured first when it is not.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

status=0
python3 tools/tidy.py || status=1

case ${1:-HEAD} in
  --all) mapfile -t changed < <(git ls-files --cached --others --exclude-standard) ;;
  *) mapfile -t changed < <({
    git diff --name-only --diff-filter=d "${1:-HEAD}"
    git ls-files --others --exclude-standard
  } | sort -u) ;;
esac
layout=() sources=()
for file in "${changed[@]}"; do
  [[ $file =~ \.(c|h|cpp|hpp)$ ]] && layout+=("$file")
  [[ $file =~ \.(c|cpp)$ ]] && sources+=("$file")
done
if [[ ${#layout[@]} -gt 0 ]]; then
  tools/format.sh --check "${layout[@]}" || status=1
fi
if [[ ${#sources[@]} == 0 ]]; then
  echo "lint: no changed C or C++ source, so nothing for clang-tidy"
  exit $status
fi

tidy=${CLANG_TIDY:-clang-tidy-14}
if ! command -v "$tidy" >/dev/null; then
  echo "lint: $tidy is missing (tools/setup dev installs it)" >&2
  exit 1
fi
[[ -f build/asan/compile_commands.json ]] || cmake --preset asan >/dev/null || exit 1
compiled=()
for file in "${sources[@]}"; do
  grep -qF "\"file\": \"$PWD/$file\"" build/asan/compile_commands.json && compiled+=("$file")
done
if [[ ${#compiled[@]} -gt 0 ]]; then
  echo "lint: clang-tidy on ${#compiled[@]} files"
  # Warning flags of GCC that clang does not know are not our concern here.
  printf '%s\0' "${compiled[@]}" |
    xargs -0 -P "$(nproc)" -n 1 "$tidy" --quiet -p build/asan --extra-arg=-Wno-unknown-warning-option || status=1
fi
exit $status
