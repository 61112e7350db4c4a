#!/usr/bin/env bash
# Makes the virtual environment that all scripts use, once: .venv, for the GPU if nvidia-smi finds one, else the CPU.
#
#   bash scripts/setup_env.sh [--cpu | --gpu | --paddle26] [--dev] [--help]
#
#   --cpu       Paddle 3 for CPUs, whatever the machine has
#   --gpu       Paddle 2.6.2 for CUDA 11.8 (the newest on PyPI), whatever nvidia-smi says
#   --paddle26  Paddle 2.6.2 for CPUs
#   --dev       what the tests need, too
#   ZOO_VENV    another place for the environment; none: the scripts take the Python that is active, and make nothing
#   PYTHON      the Python to make it with (3.9 to 3.12)
#
# Without a flag, an environment that is there stays of its kind; changed requirements are installed. One of another
# kind is made anew: the two Paddles cannot share one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=${ZOO_VENV:-.venv}
[ "$venv" != none ] || exit 0
kind="" dev=""
for flag in "$@"; do
  case $flag in
    --cpu | --gpu | --paddle26) kind=${flag#--} ;;
    --dev) dev=dev ;;
    --help) sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p;}' "scripts/setup_env.sh"; exit 0 ;;
    *) echo "error: unknown flag $flag (see the head of scripts/setup_env.sh)" >&2; exit 2 ;;
  esac
done
[ -n "$kind" ] || kind=$(sed -n 's/^kind //p' "$venv/ready" 2>/dev/null || true)
if [ -z "$kind" ]; then
  if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep GPU >/dev/null; then kind=gpu; else kind=cpu; fi
fi
if grep -qx dev "$venv/ready" 2>/dev/null; then dev=dev; fi  # what was asked for once stays

# Up to date? The marker holds what was asked for and the requirements it was made from.
stamp=$(echo "kind $kind"; echo "$dev"; cat requirements/*.txt pyproject.toml | cksum)
[ "$(cat "$venv/ready" 2>/dev/null)" != "$stamp" ] || exit 0

# One installation at a time; the others wait, and find it done.
if command -v flock >/dev/null && [ -z "${ZOO_SETUP_LOCKED:-}" ]; then
  exec env ZOO_SETUP_LOCKED=1 flock "$venv.lock" bash "$PWD/scripts/setup_env.sh" "$@"
fi

usable() { "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; }
if [ -x "$venv/bin/python" ] && [ ! -e "$venv/ready" ]; then
  echo "error: $venv is there, and not of this script's making. Delete it, name another place with ZOO_VENV, or use" >&2
  echo "  the Python that is active, as it is, with ZOO_VENV=none." >&2
  exit 1
fi
if [ -e "$venv/ready" ] && ! grep -qx "kind $kind" "$venv/ready"; then
  echo "$venv was made for $(sed -n 's/^kind //p' "$venv/ready"): making it anew."
  rm -rf "$venv"
fi
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then  # not there, or its making was interrupted
  python=""
  for candidate in ${PYTHON:-python3 python3.12 python3.11 python3.10 python3.9 python}; do
    if usable "$candidate"; then python=$candidate; break; fi
  done
  if [ -z "$python" ]; then
    echo "error: no Python 3.9 to 3.12 with venv found (tried: ${PYTHON:-python3, python3.12 ... python3.9, python})." >&2
    echo "  Install one (Debian, Ubuntu: apt install python3 python3-venv) or name it: PYTHON=/path/to/python $0" >&2
    exit 1
  fi
  echo "Making $venv with $("$python" --version) ..."
  mkdir -p "$venv"
  echo "kind $kind" > "$venv/ready"  # ours, but not up to date until the last line of this script
  "$python" -m venv "$venv"
fi

wanted=$(mktemp -d)
trap 'rm -rf "$wanted"' EXIT
cp requirements/*.txt "$wanted"
if [ "$(uname)" = Linux ] && ! { ldconfig -p 2>/dev/null || /sbin/ldconfig -p; } | grep 'libGL\.so\.1' >/dev/null; then
  echo "No libGL here: taking the headless OpenCV."
  sed 's/^opencv-python>/opencv-python-headless>/' requirements/common.txt > "$wanted/common.txt"
fi
echo "Installing packages for $kind into $venv: some hundred MB to download (gpu: 2 GB), once ..."
echo "kind $kind" > "$venv/ready"
export=export26.txt
if [ "$kind" = cpu ]; then export=export.txt; fi
"$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off \
  -r "$wanted/$kind.txt" ${dev:+-r "$wanted/dev.txt" -r "$wanted/$export"} 2>&1 |
  awk '/^(Collecting|Downloading|Installing|Successfully|ERROR|error)/ { print substr($0, 1, 110); fflush() }'
"$venv/bin/python" -m pip install --disable-pip-version-check -q --no-deps -e .  # scripts of any folder find the package
if [ "$kind" = gpu ]; then
  # The CUDA libraries lie in the environment. Paddle asks for them without their version (libcudnn.so), and the loader
  # must look there.
  site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
  for lib in "$site"/nvidia/*/lib/lib*.so.*; do ln -sf "$(basename "$lib")" "${lib%%.so.*}.so"; done
  for lib in "$site"/nvidia/*/lib; do echo "export LD_LIBRARY_PATH=$lib\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"; done \
    > "$venv/cuda_paths.sh"
  grep -q cuda_paths.sh "$venv/bin/activate" ||
    echo '. "$VIRTUAL_ENV/cuda_paths.sh"  # added by scripts/setup_env.sh' >> "$venv/bin/activate"
fi
echo "$stamp" > "$venv/ready"
echo "$venv is ready: source $venv/bin/activate"
