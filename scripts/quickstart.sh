#!/usr/bin/env bash
# The main job on your machine, in minutes and without a GPU: makes a data set of mp4 files, trains TSM on it, and TSN
# alike, tests both, predicts a list, and writes quickstart/report.html. It takes no arguments.
set -euo pipefail
if [ $# -gt 0 ]; then sed -n '2,3s/^# //p' "${BASH_SOURCE[0]}"; exit 2; fi
source "$(dirname "${BASH_SOURCE[0]}")/activate.sh"
cd "$project"
started=$SECONDS
out=quickstart

config() { echo "configs/$(echo "$1" | tr '[:upper:]' '[:lower:]')_moving_shapes.yaml"; }
train() { exec python train.py --model_name="$1" --config="$(config "$1")" --pretrain=none --save_dir="$out/$1"; }
test() {
  exec python test.py --model_name="$1" --config="$(config "$1")" --weights="$out/$1/$1_best" --log_interval=0 \
    --save_dir="$out/$1" --order reverse shuffle
}
infer() {
  exec python infer.py --model_name="$1" --config="$(config "$1")" --weights="$out/$1/$1_best" --log_interval=0 \
    --save_dir="$out/$1"
}
both() {  # COMMAND: of TSM, and beside it of TSN, whose lines go to a file
  "$1" TSN >> "$out/TSN.log" 2>&1 &
  tsn=$!
  # Both in the background: a shell answers a signal while it waits, not while a command in the foreground runs.
  "$1" TSM &
  tsm=$!
  trap 'kill $tsm $tsn 2>/dev/null || true' EXIT
  wait $tsm
  wait $tsn || { tail -n 3 "$out/TSN.log" >&2; exit 1; }
  trap - EXIT  # both have ended: their numbers may be other processes' by now
}
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

echo "== 1 of 5: moving shapes, a data set in which only motion tells the classes apart"
python dataset/moving_shapes/make_moving_shapes.py

rm -rf "${out:?}/TSM" "$out/TSN" "$out/TSN.log"
mkdir -p "$out"
cores=$(python -c 'from video_zoo.utils.runtime import usable_cores; print(usable_cores())')
export OMP_NUM_THREADS=$(((cores + 1) / 2))  # half of the cores each: two small networks side by side finish sooner
echo "== 2 of 5: train TSM, and beside it TSN (its lines go to $out/TSN.log)"
both train
echo "== 3 of 5: test both"
both test
echo "== 4 of 5: infer both"
both infer
echo "== 5 of 5: the report"
python scripts/quickstart_report.py --seconds=$((SECONDS - started))
echo "done in $((SECONDS - started)) s. Open $out/report.html; the curves are in: visualdl --logdir $out --language en"
