#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Checks that all C++ is formatted by clang-format 19 (.clang-format). Status 77: skipped.
# usage: check_format.sh ROOT
set -euo pipefail
cd "$1"

formatter=$(command -v clang-format-19) || {
  echo "clang-format-19 is missing: run dev/setup"
  exit 77
}
folders=()
for folder in src tests include bench; do
  if [[ -d $folder ]]; then folders+=("$folder"); fi
done
find "${folders[@]}" -name '*.cc' -print0 -o -name '*.h' -print0 |
  xargs -0 -r "$formatter" --dry-run -Werror --ferror-limit=1 || {
  echo "correct it with: clang-format-19 -i FILE..."
  exit 1
}
