#!/usr/bin/env bash
# Predicts the classes of a list of videos with TSM. Further flags are passed on.
# FILELIST=FILE names the list (left out: the config's); WEIGHTS=PATH the weights (left out: the released ones,
# downloaded once); CUDA_VISIBLE_DEVICES chooses the GPU.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../activate.sh"
source scripts/memory_flags.sh
exec python infer.py --model_name=TSM --config=configs/tsm.txt --log_interval=1 --weights="${WEIGHTS:-}" \
  --filelist="${FILELIST:-}" "$@"
