#!/bin/sh
# What the images install, into the virtual environment whose `python` is first on PATH; run where pyproject.toml is.
#
#   install.sh dependencies cpu|cuda   everything remaster needs, in the versions of constraints.txt
#   install.sh package                 remaster itself
#
#   TORCH_INDEX   where torch is taken from; empty: the package index that pip is set up with (PyPI's is the CUDA one)
set -eu

usage() { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }

python_pip() { python -m pip install --quiet --constraint "$pins" "$@"; }

dependencies() {
    pins=$(mktemp)
    trap 'rm -f "$pins"' EXIT
    # A torch for CUDA asks for the one Triton that it was built with, which need not be the one the tests use.
    grep -v '^triton==' constraints.txt >"$pins"
    [ "$1" = cuda ] || [ "$1" = cpu ] || usage
    python_pip ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
    # A folder with no package in it yet: only what it depends on is installed.
    python_pip "$(pwd)[cluster]"
    python -m pip uninstall --quiet --yes remaster
    if [ "$1" = cuda ]; then python_pip "triton>=3.4"; fi
}

case ${1:-} in
dependencies) dependencies "${2:-}" ;;
package) python -m pip install --quiet --no-deps . ;;
*) usage ;;
esac
