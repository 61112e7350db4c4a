#!/usr/bin/env bash
# Predicts a list of videos with TSN: WEIGHTS=PATH, FILELIST=FILE, and flags of infer.py, as scripts/kinetics.sh says.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../kinetics.sh" infer tsn "$@"
