# Sourced by the scripts of Kinetics runs: v1.5's memory settings, where the environment has no others.
export FLAGS_fast_eager_deletion_mode=${FLAGS_fast_eager_deletion_mode:-1}
export FLAGS_eager_delete_tensor_gb=${FLAGS_eager_delete_tensor_gb:-0.0}
export FLAGS_fraction_of_gpu_memory_to_use=${FLAGS_fraction_of_gpu_memory_to_use:-0.98}
