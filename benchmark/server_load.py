"""How many videos a second demo.py's POST /predict answers, and how long they take, with `hey` (apt-get install hey).

    python demo.py --weights=exported/TSM --open=False &
    python benchmark/server_load.py --video=clip.mp4 --visitors 1 4 8 16 --seconds=30

Each visitor sends the video again as soon as it is answered; /healthz, which computes nothing, comes first. Prints a
table for RESULTS.md: p50 and p99 are those of the answers with status 200, from hey's csv.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import subprocess
from collections import Counter

import numpy as np


def load(url: str, visitors: int, seconds: float, *flags: str) -> str:
    """A row of the table."""
    command = ("hey", "-z", f"{seconds:g}s", "-t", "300", "-c", str(visitors), "-o", "csv", *flags, url)
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = list(csv.DictReader(io.StringIO(output)))
    statuses = Counter(row["status-code"] for row in rows)
    times = [float(row["response-time"]) for row in rows if row["status-code"] == "200"]
    until = max(float(row["offset"]) + float(row["response-time"]) for row in rows)
    p50, p99 = np.percentile(times, (50, 99))
    others = ", ".join(f"{count} with {status}" for status, count in sorted(statuses.items()) if status != "200")
    return f"| {visitors} | {len(times)} | {len(times) / until:.2f} | {p50:.3f} | {p99:.3f} | {others or '-'} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="http://127.0.0.1:8000")
    parser.add_argument("--video", required=True)
    parser.add_argument("--visitors", nargs="+", type=int, default=[1, 4, 8, 16])
    parser.add_argument("--seconds", type=float, default=30)
    args = parser.parse_args()
    heading = "| visitors | answers | a second | p50, s | p99, s | others |\n| --- | --- | --- | --- | --- | --- |"
    print(f"load average {os.getloadavg()[0]:.1f}\n\n/healthz:\n\n{heading}")
    print(load(f"{args.address}/healthz", 8, 3))
    print(f"\n/predict, {os.path.getsize(args.video) / 1e3:.0f} kB:\n\n{heading}")
    flags = ("-m", "POST", "-T", "application/octet-stream", "-D", args.video)
    for visitors in args.visitors:
        print(load(f"{args.address}/predict", visitors, args.seconds, *flags), flush=True)
    print(f"\nload average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
