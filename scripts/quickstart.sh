#!/usr/bin/env bash
# The main job on your machine, in minutes and without a GPU: makes a data set of mp4 files, trains TSM on it, and TSN
# alike, tests both, predicts a list, and writes quickstart/report.html.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/activate.sh"
started=$SECONDS
out=quickstart
mkdir -p "$out"

echo "== 1 of 5: moving shapes, a data set in which only motion tells the classes apart"
python dataset/moving_shapes/make_moving_shapes.py
for model in TSM TSN; do
  config=configs/$(echo $model | tr A-Z a-z)_moving_shapes.yaml
  echo "== $([ $model = TSM ] && echo 2 || echo 3) of 5: $model: train, test, infer"
  rm -rf "$out/$model"
  python train.py --model_name=$model --config="$config" --pretrain=none --save_dir="$out/$model"
  python test.py --model_name=$model --config="$config" --weights="$out/$model/${model}_best" --log_interval=0
  python infer.py --model_name=$model --config="$config" --weights="$out/$model/${model}_best" --save_dir="$out/$model" \
    --log_interval=0
done
echo "== 4 of 5: the report"
python scripts/quickstart_report.py --seconds=$((SECONDS - started))
echo "== 5 of 5: done in $((SECONDS - started)) s. Open $out/report.html; the curves are in: visualdl --logdir $out --language en"
