#!/usr/bin/env bash
# Prints the kind of environment that suits this machine's GPUs, for scripts/setup_env.sh, and says why on stderr.
#
#   bash scripts/gpu_build.sh [gpu | paddle3]
#
#   gpu, paddle3  a build for GPUs even if nvidia-smi finds none; of Paddle 3. Without either, cpu may be what suits
#
# The exit code is 1, with one message, where no build has kernels for the GPUs or the driver is too old.
set -euo pipefail
asked=${1:-}

name() {  # KIND
  case $1 in
    gpu) echo "Paddle 2.6.2 for CUDA 11.8" ;;
    gpu3-cu126) echo "Paddle 3.3.1 for CUDA 12.6" ;;
    gpu3-cu129) echo "Paddle 3.3.1 for CUDA 12.9" ;;
    cpu) echo "Paddle 3.3.1 for CPUs" ;;
  esac
}
has_kernels() {  # KIND OLDEST NEWEST: for GPUs of these compute capabilities, 8.9 as 89
  case $1 in
    gpu) [ "$2" -ge 61 ] && [ "$3" -le 89 ] ;;
    gpu3-cu126) [ "$2" -ge 61 ] && [ "$3" -le 90 ] ;;  # comes second: its NCCL had a fault
    gpu3-cu129) [ "$2" -ge 80 ] && [ "$3" -le 129 ] ;;
  esac
}
needed_driver() {  # KIND: NVIDIA's minimum for CUDA 11 and for CUDA 12; Paddle asks for one of CUDA 12.9 from 10.0 on
  if [ "$1" = gpu ]; then echo 450.80.02; elif [ "$newest" -lt 100 ]; then echo 525.60.13; else echo 575.51.03; fi
}
runs() { printf '%s\n' "$(needed_driver "$1")" "$driver" | sort -V -C; }  # KIND: with this driver

kinds=(gpu gpu3-cu129 gpu3-cu126)  # the first that has kernels is taken
[ "$asked" != paddle3 ] || kinds=(gpu3-cu129 gpu3-cu126)
# A line for each GPU, as "8.9, 535.183.01". Drivers before 510 do not know compute_cap.
query() { nvidia-smi --query-gpu="$1" --format=csv,noheader 2>/dev/null | tr -d '\r'; }
gpus=$(query compute_cap,driver_version || query driver_version | sed 's/^/unknown, /' || true)
gpus=$(grep -E '^[^,]+, *[0-9]+\.[0-9.]+$' <<<"$gpus" || true)
if [ -z "$gpus" ]; then
  kind=${kinds[0]}
  [ -n "$asked" ] || kind=cpu
  if command -v nvidia-smi >/dev/null; then
    echo "nvidia-smi finds no GPU ($(nvidia-smi -L 2>&1 | head -n 1 || true)): taking $(name "$kind")." >&2
  fi
  echo "$kind"
  exit
fi

driver=$(sed -n '1s/.*, *//p' <<<"$gpus")
capabilities=$(sed -n 's/^\([0-9]*\)\.\([0-9]\),.*/\1\2/p' <<<"$gpus" | sort -n -u)
cards=$(sed 's/.$/.&/' <<<"$capabilities" | paste -s -d ' ' -)
oldest=${capabilities%%$'\n'*} newest=${capabilities##*$'\n'} kind=""
if [ -z "$newest" ]; then
  kind=${kinds[0]} newest=0
  echo "nvidia-smi does not say the GPU's compute capability: taking $(name "$kind"). Other builds: --paddle3, --cpu." >&2
else
  for lowest in "$oldest" "$newest"; do  # a build for all GPUs, or else for the newest
    for each in "${kinds[@]}"; do
      if [ -z "$kind" ] && has_kernels "$each" "$lowest" "$newest"; then kind=$each; fi
    done
  done
  if [ -z "$kind" ]; then
    if [ -n "$asked" ]; then
      echo "error: no build has kernels for a GPU of compute capability $cards. For the CPU: setup_env.sh --cpu" >&2
      exit 1
    fi
    echo "warning: no build has kernels for a GPU of compute capability $cards: taking $(name cpu)." >&2
    echo cpu
    exit
  fi
  echo "GPU of compute capability $cards: taking $(name "$kind")." >&2
  if ! has_kernels "$kind" "$oldest" "$newest"; then
    echo "warning: it has no kernels for the older ones: name the others in CUDA_VISIBLE_DEVICES." >&2
  fi
fi
if ! runs "$kind"; then
  other=""
  if [ "$kind" != gpu ] && { [ "$newest" = 0 ] || has_kernels gpu "$oldest" "$newest"; } && runs gpu; then
    other="$(name gpu), which runs with it (--gpu), or "
  fi
  echo "error: the NVIDIA driver $driver is too old for $(name "$kind"): install $(needed_driver "$kind") or newer, or" \
    "take ${other}the build for CPUs: bash scripts/setup_env.sh --cpu" >&2
  exit 1
fi
echo "$kind"
