# Sourced by every script: goes to the repository's root and into its virtual environment, which is made if missing.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup_env.sh
[ "${ZOO_VENV:-}" = none ] || source "${ZOO_VENV:-.venv}/bin/activate"
