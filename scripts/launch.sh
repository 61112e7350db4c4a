# Sourced by the training scripts: sets launch to Paddle's launcher where CUDA_VISIBLE_DEVICES names several GPUs. What
# the ranks but the first say goes to rank_logs/.
IFS=, read -ra gpus <<< "${CUDA_VISIBLE_DEVICES:-}"
launch=(-u)
if [ ${#gpus[@]} -gt 1 ]; then
  launch=(-m paddle.distributed.launch --nproc_per_node="${#gpus[@]}" --log_dir=rank_logs --log_level=ERROR)
fi
