# Sourced by every script: enters the virtual environment of the project, which is made if missing. `project` is its root.
unset CDPATH  # with it cd prints
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bash "$project/scripts/setup_env.sh"
case ${ZOO_VENV:=.venv} in
  none) ;;
  /*) source "$ZOO_VENV/bin/activate" ;;
  *) source "$project/$ZOO_VENV/bin/activate" ;;
esac
