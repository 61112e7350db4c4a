"""How many videos a second demo.py's POST /predict answers, and how long they take, with `hey` (apt-get install hey).

    python benchmark/server_load.py                  (--help: another network, another video, visitors, seconds)

Starts demo.py itself, with a TSM-50 of random weights. Each visitor sends the video again as soon as it is answered;
/healthz, which computes nothing, comes first. p50 and p99 are those of the answers with status 200, from hey's csv.
It takes about two minutes; the table for RESULTS.md comes last.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from clips import KINDS, clip_file
from harness import CLIPS, ROOT, child_environment, machine, print_table

from video_zoo.utils import cli
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger, set_up_logging

CONFIG = cli.CONFIGS / "tsm.txt"


def main() -> None:
    parser = cli.Parser(description=__doc__)
    add = parser.add_argument
    add("--weights", type=cli.path, metavar="PATH", help="what demo.py is given (a TSM-50 of random weights)")
    add("--video", type=Path, metavar="FILE", help=f"that is sent (10 s of {KINDS[0]})")
    add("--visitors", nargs="+", type=cli.positive_int, default=[1, 4, 8, 16], metavar="N", help="at once (1 4 8 16)")
    add("--seconds", type=cli.positive_int, default=20, metavar="S", help="of each row (20)")
    add("--folder", type=Path, default=CLIPS, metavar="DIR", help="of the clip (benchmark/clips)")
    args = parser.parse_args()
    set_up_logging()
    if not shutil.which("hey"):
        raise InputError("hey is missing, which asks the server: apt-get install hey")
    video, before = args.video or clip_file(args.folder, KINDS[0]), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        flags = [f"--weights={args.weights}"] if args.weights else random_weights(Path(scratch))
        with server(flags) as address:
            send = ("-m", "POST", "-T", "application/octet-stream", "-D", str(video))
            measure(f"{address}predict", "warm-up", 1, 2, send)
            rows = [measure(f"{address}healthz", "/healthz", 8, 3)]
            rows += [measure(f"{address}predict", "/predict", each, args.seconds, send) for each in args.visitors]
    print(f"\n{machine()} Load average {before:.1f} before, {os.getloadavg()[0]:.1f} after.\n")
    what = f"demo.py --weights={args.weights or 'TSM-50'}, {video.name} of {video.stat().st_size / 1e3:.0f} kB"
    print_table(what, "visitors | answers | a second | p50, s | p99, s | others", rows)


def random_weights(folder: Path) -> list[str]:
    """Writes a network's weights; returns demo.py's flags for them."""
    from video_zoo.configs.schema import Config
    from video_zoo.models import MODELS, build_network
    from video_zoo.utils import config
    from video_zoo.utils.fluid_vars import write_folder

    settings = config.load(str(CONFIG), Config, {}, cli.model_sections(MODELS), "TSM")
    variables = build_network(settings, "infer").variables()
    write_folder(folder, {name: tensor.numpy() for name, tensor in variables.items()})
    return [f"--weights={folder}", f"--config={CONFIG}"]


@contextlib.contextmanager
def server(flags: Sequence[str]) -> Iterator[str]:
    """demo.py with these flags; gives its address."""
    command = [sys.executable, str(ROOT / "demo.py"), *flags, "--port=0", "--open=False"]
    with subprocess.Popen(command, env=child_environment(), stdout=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stdout:
                if " engine " in line:
                    logger.info("%s", line.partition(" engine ")[2].strip())
                if "the page is " in line:
                    yield line.partition("the page is ")[2].partition(";")[0]
                    return
            raise InputError(f"demo.py ended with exit code {process.wait()}")
        finally:
            process.terminate()


def measure(url: str, name: str, visitors: int, seconds: float, flags: Sequence[str] = ()) -> tuple[object, ...]:
    """A row of the table."""
    command = ("hey", "-z", f"{seconds:g}s", "-t", "300", "-c", str(visitors), "-o", "csv", *flags, url)
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = list(csv.DictReader(io.StringIO(output)))
    statuses = Counter(row["status-code"] for row in rows)
    times = [float(row["response-time"]) for row in rows if row["status-code"] == "200"]
    if not times:
        raise InputError(f"no answer of {url} had status 200: {dict(statuses)}")
    until = max(float(row["offset"]) + float(row["response-time"]) for row in rows)
    p50, p99 = np.percentile(times, (50, 99))
    others = ", ".join(f"{count} with {status}" for status, count in sorted(statuses.items()) if status != "200")
    logger.info("%s, %d visitors: %d answers, %s others", name, visitors, len(times), others or "no")
    return f"{name}, {visitors}", len(times), f"{len(times) / until:.2f}", f"{p50:.3f}", f"{p99:.3f}", others or "-"


if __name__ == "__main__":
    cli.run(main)
