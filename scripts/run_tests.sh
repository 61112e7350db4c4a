#!/usr/bin/env bash
# Lint, the tests on Paddle 3, and the contract tests on Paddle 2.6.2; makes .venv and .venv-paddle26 if missing.
# Where .venv is, or would be, for a GPU, the tests have .venv-cpu instead. Arguments go to the first pytest:
#   bash scripts/run_tests.sh -k sampling
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=.venv
if ! grep -qx 'kind cpu' .venv/ready 2>/dev/null && { [ -e .venv/ready ] || command -v nvidia-smi >/dev/null; }; then
  venv=.venv-cpu
fi
ZOO_VENV=$venv bash scripts/setup_env.sh --cpu --dev
ZOO_VENV=.venv-paddle26 bash scripts/setup_env.sh --paddle26 --dev
$venv/bin/ruff check .
$venv/bin/ruff format --check .
$venv/bin/python -m pytest "$@"
.venv-paddle26/bin/python -m pytest -m contract
