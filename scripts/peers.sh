#!/usr/bin/env bash
# Installs Phoenix and MLflow, each into a virtual environment of its own (about 1.3 GB together), and prints the
# variables that tests/test_telemetry_peers.py reads:
#
#     eval "$(scripts/peers.sh)" && pytest -m peers
#
# The folder is the first argument, else $XDG_CACHE_HOME/llmops-peers or ~/.cache/llmops-peers. What is installed
# already stays. PYTHON names the interpreter (3.11 to 3.13).
set -euo pipefail

folder="${1:-${XDG_CACHE_HOME:-$HOME/.cache}/llmops-peers}"
python="${PYTHON:-python3}"

install() { # name, package
  local venv="$folder/$1"
  if [ ! -x "$venv/bin/$1" ]; then
    echo "installing $2 into $venv" >&2
    "$python" -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "$2" >&2
  fi
  printf 'export LLMOPS_TEST_%s=%q\n' "$(printf %s "$1" | tr '[:lower:]' '[:upper:]')" "$venv/bin/$1"
}

install phoenix arize-phoenix==20.26.1
install mlflow mlflow==3.17.2
