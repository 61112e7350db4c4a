#!/usr/bin/env bash
# Trains TSN on Kinetics-400: PRETRAIN=PATH, RESUME=PATH, and flags of train.py, as scripts/kinetics.sh says.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../kinetics.sh" train tsn "$@"
