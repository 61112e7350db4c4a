#!/usr/bin/env bash
# Measures TSN's accuracy on Kinetics-400. Further flags are passed on.
# CUDA_VISIBLE_DEVICES chooses the GPU; WEIGHTS=PATH the weights (left out: the released ones, downloaded once).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../activate.sh"
source scripts/memory_flags.sh
exec python test.py --model_name=TSN --config=configs/tsn.txt --log_interval=1 --weights="${WEIGHTS:-}" "$@"
