#!/usr/bin/env bash
# Makes the virtual environment that all scripts use, once: .venv, with the Paddle that suits the GPU, or for the CPU.
#
#   bash scripts/setup_env.sh [--cpu | --gpu | --paddle3 | --paddle26] [--dev] [--help]
#
#   --cpu         Paddle 3 for CPUs, whatever the machine has
#   --gpu         Paddle for GPUs, as nvidia-smi says their compute capability: 6.1 to 8.9, or if it finds none, Paddle
#                 2.6.2 for CUDA 11.8 (the newest on PyPI); 9.0 and newer as --paddle3
#   --paddle3     Paddle 3.3.1 for GPUs, from Paddle's own index: for CUDA 12.9, or for CUDA 12.6 (6.1 to 7.5)
#   --paddle26    Paddle 2.6.2 for CPUs
#   --dev         what the tests need, too
#   PADDLE_INDEX  another index (its URL), or a folder of wheels, to take Paddle from; the rest is from pip's index
#   ZOO_VENV      another place for the environment; none: the scripts take the Python that is active, and make nothing
#   PYTHON        the Python to make it with (3.9 to 3.12)
#
# Without a flag, an environment that is there stays of its kind, and changed requirements are installed; a new one is
# for the GPU if nvidia-smi finds one that a build has kernels for, else for the CPU. One of another kind is made anew,
# as two Paddles cannot share one; where that fails, the one that was there stays.
set -euo pipefail
unset CDPATH  # with it cd prints
case ${PADDLE_INDEX:-} in
  "" | *://*) ;;
  *)
    [ -d "$PADDLE_INDEX" ] || { echo "error: PADDLE_INDEX=$PADDLE_INDEX is neither a URL nor a folder" >&2; exit 1; }
    PADDLE_INDEX=$(cd "$PADDLE_INDEX" && pwd)
    ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=${ZOO_VENV:-.venv}
venv=${venv%/}
[ "$venv" != none ] || exit 0
kind=${ZOO_SETUP_LOCKED:-} flag="" dev=""
for each in "$@"; do
  case $each in
    --cpu | --gpu | --paddle3 | --paddle26) flag=${each#--} ;;
    --dev) dev=dev ;;
    --help) sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p;}' "scripts/setup_env.sh"; exit 0 ;;
    *) echo "error: unknown flag $each (see the head of scripts/setup_env.sh)" >&2; exit 2 ;;
  esac
done
[ -n "$kind$flag" ] || kind=$(sed -n 's/^kind //p' "$venv/ready" 2>/dev/null || true)
case $kind,$flag in
  ,cpu | ,paddle26) kind=$flag ;;
  ,*) kind=$(bash scripts/gpu_build.sh "$flag") ;;
esac
if grep -qx dev "$venv/ready" 2>/dev/null; then dev=dev; fi  # what was asked for once stays

# Up to date? The marker holds what was asked for and the requirements it was made from.
stamp=$(echo "kind $kind"; echo "$dev"; cat requirements/*.txt pyproject.toml | cksum)
[ "$(cat "$venv/ready" 2>/dev/null)" != "$stamp" ] || exit 0

# One installation at a time into a place; the others wait, and find it done. The lock is a file that can be written, as
# network file systems want it; git ignores it.
if command -v flock >/dev/null && [ -z "${ZOO_SETUP_LOCKED:-}" ]; then
  mkdir -p "$(dirname "$venv")"
  exec env ZOO_SETUP_LOCKED="$kind" PADDLE_INDEX="${PADDLE_INDEX:-}" flock "$venv.lock" bash "$PWD/scripts/setup_env.sh" "$@"
fi

usable() { "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; }
if [ -x "$venv/bin/python" ] && [ ! -e "$venv/ready" ]; then
  echo "error: $venv is there, and not of this script's making. Delete it, name another place with ZOO_VENV, or use" >&2
  echo "  the Python that is active, as it is, with ZOO_VENV=none." >&2
  exit 1
fi
replaced=$venv.replaced  # is put back if its successor cannot be made
wanted=$(mktemp -d) new=""
leave() {  # no half-made environment
  rm -rf "$wanted"
  [ -z "$new" ] || rm -rf "$venv"
  if [ -e "$venv" ]; then rm -rf "$replaced"; elif [ -e "$replaced" ]; then mv "$replaced" "$venv"; fi
}
trap leave EXIT
if [ -e "$venv/ready" ] && ! grep -qx "kind $kind" "$venv/ready"; then
  echo "$venv was made for $(sed -n 's/^kind //p' "$venv/ready"): making it anew."
  rm -rf "$replaced"
  mv "$venv" "$replaced"
fi
[ ! -e "$replaced/ready" ] || new=new
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
  new=new
  mkdir -p "$venv"
  echo "kind $kind" > "$venv/ready"  # ours, but not up to date until the last line of this script
  "$python" -m venv "$venv"
fi

cp requirements/*.txt "$wanted"
if [ "$(uname)" = Linux ] && ! { ldconfig -p 2>/dev/null || /sbin/ldconfig -p; } | grep 'libGL\.so\.1' >/dev/null; then
  echo "No libGL here: taking the headless OpenCV."
  sed 's/^opencv-python>/opencv-python-headless>/' requirements/common.txt > "$wanted/common.txt"
fi
echo "Installing packages for $kind into $venv: some hundred MB to download (GPU: 2 GB or more), once ..."
{ echo "kind $kind"; echo "$dev"; } > "$venv/ready"
file=${kind%-cu*}.txt index="" folder="" export=export.txt
case $kind in
  gpu | paddle26) export=export26.txt ;;
  gpu3-*) index=https://www.paddlepaddle.org.cn/packages/stable/${kind#gpu3-}/ ;;
esac
paddle=$(grep '^paddlepaddle' "requirements/$file")
if [ -d "${PADDLE_INDEX:-}" ]; then folder=$PADDLE_INDEX; fi

install() {
  "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off ${folder:+-f "$folder"} "$@" 2>&1 |
    tee -a "$wanted/pip.log" |
    awk '/^(Collecting|Downloading|Installing|Successfully|ERROR|error)/ { print substr($0, 1, 110); fflush() }' ||
    explain
}
explain() {  # what pip cannot get, and how to bring it here
  local files="-r requirements/$file${dev:+ -r requirements/dev.txt -r requirements/$export} setuptools wheel"
  cmp -s requirements/common.txt "$wanted/common.txt" || files="$files '$(grep '^opencv' "$wanted/common.txt")'"
  {
    if grep -q "connection broken by" "$wanted/pip.log"; then
      echo "error: pip cannot reach an index that it needs, and $venv is not ready."
    else
      echo "error: pip cannot install what $venv needs (see above)."
      grep -q "No matching distribution" "$wanted/pip.log" || exit 1
    fi
    echo "Where there is a network, with this system and $("$venv/bin/python" --version), run in a copy of this folder:"
    if [ -z "$folder" ] && [ -n "${PADDLE_INDEX:-}" ]; then index='"$PADDLE_INDEX"'; fi
    [ -z "$index" ] || echo "  python -m pip download -d wheels --no-deps -i $index $paddle"
    echo "  python -m pip download -d wheels -f wheels $files"
    echo "Then bring the folder wheels here, and: PIP_NO_INDEX=1 PADDLE_INDEX=wheels bash scripts/setup_env.sh" \
      "${flag:+--$flag }${dev:+--dev}"
  } >&2
  exit 1
}
# Paddle alone is taken from an index of its own, without what it depends on, and all else from pip's index alone: pip
# prefers no index to another, so with both in one command either could pass off any package as the other's.
if [ -n "$folder" ]; then
  install --no-deps --no-index "$paddle"
elif [ -n "${PADDLE_INDEX:-$index}" ]; then
  install --no-deps -i "${PADDLE_INDEX:-$index}" "$paddle"
fi
install -r "$wanted/$file" ${dev:+-r "$wanted/dev.txt" -r "$wanted/$export"}
if command -v flock >/dev/null; then exec 9>> pyproject.toml; flock 9; fi  # two at once would write the same files here
install -q --no-deps -e .  # scripts of any folder find the package
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
new=""
echo "$venv is ready: source $venv/bin/activate"
