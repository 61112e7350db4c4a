#!/usr/bin/env bash
# Measures the accuracy of TSN on Kinetics-400: WEIGHTS=PATH, and flags of test.py, as scripts/kinetics.sh says.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../kinetics.sh" test tsn "$@"
