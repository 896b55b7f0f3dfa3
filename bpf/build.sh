#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds vita.bpf.o from vita.bpf.c so that the same compiler gives the same bytes anywhere.
# usage: build.sh [OUTPUT]    (without OUTPUT the committed object next to the source is replaced)
# CLANG and LLVM_STRIP choose other tools; the committed object is made with clang 14 (Debian 12).
set -eu

output=${1:-vita.bpf.o}
case $output in
    /*) ;;
    *) [ $# -eq 0 ] || output=$PWD/$output ;;
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
# -mcpu is fixed because its default differs between versions of clang.
"$clang" -O2 -g -mcpu=v3 -target bpf -Wall -Wextra -Werror \
    -fno-ident -fdebug-compilation-dir=. -c vita.bpf.c -o "$output"
# Removes DWARF; the type information that libbpf needs for the maps stays.
"$strip" -g "$output"
