#!/usr/bin/env bash
# Trains TSN on Kinetics-400 as v1.5 did. Further flags are passed on:
#   bash scripts/train/train_tsn.sh --epoch=1 --set TRAIN.num_reader_threads=4
# CUDA_VISIBLE_DEVICES chooses the GPUs, and each named has a process of its own; PRETRAIN=PATH the weights to start from,
# RESUME=PATH the checkpoint to go on from.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../activate.sh"
source scripts/memory_flags.sh
source scripts/launch.sh
exec python "${launch[@]}" train.py --model_name=TSN --config=./configs/tsn.txt --save_dir=checkpoints --log_interval=10 \
  --valid_interval=1 --pretrain="${PRETRAIN:-}" --resume="${RESUME:-}" "$@"
