#!/usr/bin/env bash
# Lint, the tests on Paddle 3, and the contract tests on Paddle 2.6.2; makes .venv and .venv-paddle26 if missing.
# Where .venv is, or would be, for a GPU, the tests have .venv-cpu instead.
#   bash scripts/run_tests.sh [--torch] [what the first pytest is to have, as -k sampling]
#   --torch   also compares converted weights with PyTorch, which is a large download; without it, where it is installed
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=.venv
if ! grep -qx 'kind cpu' .venv/ready 2>/dev/null && { [ -e .venv/ready ] || command -v nvidia-smi >/dev/null; }; then
  venv=.venv-cpu
fi
# Some hundred processes are started: each would compile the sources anew. What is imported is compiled then; all that is
# installed would take pip a minute.
unset PYTHONDONTWRITEBYTECODE
export PIP_NO_COMPILE=no  # which is yes: https://pip.pypa.io/en/stable/topics/configuration/#environment-variables
ZOO_VENV=.venv-paddle26 bash scripts/setup_env.sh --paddle26 --dev &
ZOO_VENV=$venv bash scripts/setup_env.sh --cpu --dev
if [ "${1:-}" = --torch ]; then
  shift
  $venv/bin/python -c 'import torch' 2>/dev/null || $venv/bin/python -m pip install -q -r requirements/torch.txt
fi
wait $!  # with its exit code
$venv/bin/ruff check .
$venv/bin/ruff format --check .
# Two processes: with more, tests of live streams fall behind on two cores. A file's tests share what they have made, so they
# are one process's.
several=(--numprocesses=2 --dist=loadfile --no-loadscope-reorder --max-worker-restart=0)
$venv/bin/python -m pytest "${several[@]}" "$@"
# Of the files that have such tests: importing the others, and PyTorch with them, takes as long.
contract=$(grep -l 'mark\.contract' tests/test_*.py)
.venv-paddle26/bin/python -m pytest "${several[@]}" -m contract $contract
