#!/usr/bin/env bash
# The main job on your machine, in minutes and without a GPU: makes a data set of mp4 files, trains TSM on it, and TSN
# alike, tests both, predicts a list, and writes quickstart/report.html. It takes no arguments.
set -euo pipefail
if [ $# -gt 0 ]; then sed -n '2,3s/^# //p' "${BASH_SOURCE[0]}"; exit 2; fi
source "$(dirname "${BASH_SOURCE[0]}")/activate.sh"
started=$SECONDS
out=quickstart

config() { echo "configs/$(echo "$1" | tr '[:upper:]' '[:lower:]')_moving_shapes.yaml"; }
train() { exec python train.py --model_name="$1" --config="$(config "$1")" --pretrain=none --save_dir="$out/$1"; }
test() {
  python test.py --model_name="$1" --config="$(config "$1")" --weights="$out/$1/$1_best" --log_interval=0
}
infer() {
  python infer.py --model_name="$1" --config="$(config "$1")" --weights="$out/$1/$1_best" --log_interval=0 \
    --save_dir="$out/$1"
}

echo "== 1 of 5: moving shapes, a data set in which only motion tells the classes apart"
python dataset/moving_shapes/make_moving_shapes.py

echo "== 2 of 5: train TSM, and beside it TSN (its lines go to $out/TSN/train.log)"
rm -rf "${out:?}/TSM" "$out/TSN"
mkdir -p "$out/TSN"
cores=$(python -c 'from video_zoo.utils.runtime import usable_cores; print(usable_cores())')
export OMP_NUM_THREADS=$(((cores + 1) / 2))  # half of the cores each: two small networks side by side finish sooner
train TSN > "$out/TSN/train.log" 2>&1 &
tsn=$!
# Both in the background: a shell answers a signal while it waits, not while a command in the foreground runs.
train TSM &
tsm=$!
trap 'kill $tsm $tsn 2>/dev/null || true' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
wait $tsm
wait $tsn || { tail -n 3 "$out/TSN/train.log" >&2; exit 1; }
trap - EXIT HUP INT TERM  # both have ended: their numbers may be other processes' by now
unset OMP_NUM_THREADS

echo "== 3 of 5: test both"
for model in TSM TSN; do test $model; done
echo "== 4 of 5: infer both"
for model in TSM TSN; do infer $model; done
echo "== 5 of 5: the report"
python scripts/quickstart_report.py --seconds=$((SECONDS - started))
echo "done in $((SECONDS - started)) s. Open $out/report.html; the curves are in: visualdl --logdir $out --language en"
