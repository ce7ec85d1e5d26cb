#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Checks that docs/manual/drivers.md is what `zbdkit drivers --markdown` prints.
#   check_drivers_page.sh ZBDKIT SOURCE-FOLDER
set -euo pipefail
export LC_ALL=C.UTF-8

zbdkit=$1
page=$2/docs/manual/drivers.md

if ! "$zbdkit" drivers --markdown | diff -u "$page" -; then
  echo "the page is not up to date: zbdkit drivers --markdown > docs/manual/drivers.md"
  exit 1
fi
