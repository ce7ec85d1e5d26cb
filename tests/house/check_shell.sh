#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs shellcheck over every shell script of the tree. Status 77: skipped.
# usage: check_shell.sh ROOT
set -euo pipefail
cd "$1"

if ! command -v shellcheck >/dev/null; then
  echo "shellcheck is missing: run dev/setup"
  exit 77
fi
scripts=()
while IFS= read -r -d '' file; do
  IFS= read -r first <"$file" || true
  # Of busybox (SC2187: its sh is checked as dash), too.
  if [[ $first =~ ^#!.*[/\ ](ba|da|)sh(\ |$) ]]; then scripts+=("$file"); fi
done < <(find . \( -name .git -o -name build -o -name '*.cc' -o -name '*.h' \) -prune -o \
  -type f -size -256k -print0 2>/dev/null)
shellcheck --exclude=SC2187 -- "${scripts[@]}"
echo "${#scripts[@]} scripts"
