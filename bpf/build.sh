#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the two variants of vita.bpf.c so that the same compiler gives the same bytes anywhere:
#   vita.bpf.o       runs everywhere
#   vita_tags.bpf.o  sees VLAN tags that the device took off (SEE_TAGS; Linux 6.8)
# usage: build.sh [DIRECTORY]    (without DIRECTORY the committed objects next to the source are replaced)
# CLANG and LLVM_STRIP choose other tools; the committed objects are made with clang 14 (Debian 12).
set -eu

directory=${1:-.}
case $directory in
    /*) ;;
    *) [ $# -eq 0 ] || directory=$PWD/$directory ;;
esac
clang=${CLANG:-clang}
strip=${LLVM_STRIP:-llvm-strip}
for tool in "$clang" "$strip"; do
    command -v "$tool" >/dev/null || {
        echo "bpf/build.sh: $tool is missing: apt-get install clang llvm" >&2
        exit 127
    }
done

# From its own directory: source names in the debug information are then the same everywhere.
cd "$(dirname "$0")"
build() {
    output=$directory/$1
    shift
    # -mcpu is fixed because its default differs between versions of clang.
    "$clang" -O2 -g -mcpu=v3 -target bpf -Wall -Wextra -Werror \
        -fno-ident -fdebug-compilation-dir=. "$@" -c vita.bpf.c -o "$output"
    # Removes DWARF; the type information that libbpf needs for the maps stays.
    "$strip" -g "$output"
}
build vita.bpf.o
build vita_tags.bpf.o -DSEE_TAGS
