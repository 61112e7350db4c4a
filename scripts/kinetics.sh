#!/usr/bin/env bash
# Trains, tests or infers with a model on Kinetics-400 as v1.5 did. The scripts in train/, test/ and infer/ call it:
#   bash scripts/kinetics.sh train tsm [flags of train.py]      with PRETRAIN=PATH, RESUME=PATH
#   bash scripts/kinetics.sh test tsm [flags of test.py]        with WEIGHTS=PATH
#   bash scripts/kinetics.sh infer tsm [flags of infer.py]      with WEIGHTS=PATH, FILELIST=FILE
# Variables that are not set mean what the flags mean when they are left out. CUDA_VISIBLE_DEVICES chooses the GPU; for
# training it may name several, each of which gets a process of its own, and what the processes but the first say goes to
# rank_logs/ in --save_dir. Relative paths start where you stand; what is not there is looked for in the project.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/activate.sh"
if [ $# -lt 2 ]; then sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p;}' "$project/scripts/kinetics.sh"; exit 2; fi
command=$1 name=$2 model=$(echo "$2" | tr "[:lower:]" "[:upper:]")
shift 2
# v1.5's memory settings, where the environment has no others.
export FLAGS_fast_eager_deletion_mode=${FLAGS_fast_eager_deletion_mode:-1}
export FLAGS_eager_delete_tensor_gb=${FLAGS_eager_delete_tensor_gb:-0.0}
export FLAGS_fraction_of_gpu_memory_to_use=${FLAGS_fraction_of_gpu_memory_to_use:-0.98}

launcher=()
case $command in
  train)
    flags=(--save_dir=checkpoints --log_interval=10 --valid_interval=1 --pretrain="${PRETRAIN:-}" --resume="${RESUME:-}")
    IFS=, read -ra gpus <<< "${CUDA_VISIBLE_DEVICES:-}"
    if [ ${#gpus[@]} -gt 1 ]; then
      save_dir=checkpoints before=
      for word in "$@"; do
        case $word in --save[_-]dir=*) save_dir=${word#*=} ;; *) [[ $before != --save[_-]dir ]] || save_dir=$word ;; esac
        before=$word
      done
      # Paddle warns of a compiler cache in each of its processes, the launcher's too.
      launcher=(-W "ignore:No ccache found" -m paddle.distributed.launch --nproc_per_node="${#gpus[@]}"
        --log_dir="$save_dir/rank_logs" --log_level=ERROR)
    fi ;;
  test) flags=(--log_interval=1 --weights="${WEIGHTS:-}") ;;
  infer) flags=(--log_interval=1 --weights="${WEIGHTS:-}" --filelist="${FILELIST:-}") ;;
  *) echo "error: $command is none of train, test and infer" >&2; exit 2 ;;
esac
[ ${#launcher[@]} -gt 0 ] || launcher=(-u)
exec python "${launcher[@]}" "$project/$command.py" --model_name="$model" "${flags[@]}" "$@"
