"""The zoo's table: what each network costs, how fast every engine computes it, and how it trains.

    python benchmark/zoo.py --torch_python=../peers/bin/python       (--help: networks, parts)

Without torch (see inference.py) our columns alone are measured. All on the CPU, a clip at once, with random weights.

cost      parameters, and multiply-adds a clip, counted from the network (models/cost.py), beside the published figure.
speed     milliseconds from a uint8 clip in memory to probabilities, of each of our engines and of the same network in
          PyTorch in both of its memory formats. The sides are processes of their own that take turns; figures are
          medians of the rounds. An engine that cannot compute a network says why below the table. Memory is the
          process's peak, with loading, of the engine that is the quickest.
training  clips a second of our training step, and the process's peak of memory.

TSN-50 and TSM-50 take turns with each other, in three times as many rounds: TSM's time over TSN's is at most 1.05 in
every engine, as the shift must cost nothing. Its ratio of processor times is beside it, which other programs on the
machine hardly change.

Results are kept in a file as they come, and a run that was stopped goes on: what is in the file is not measured again.
Linux only.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import zoo_sides
from harness import CLIPS, Row, Side, machine, print_table, spread, take_turns
from zoo_networks import ENTRIES

from video_zoo.engine.backends import ENGINES
from video_zoo.utils import cli
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_file
from video_zoo.utils.log import logger, set_up_logging
from video_zoo.utils.runtime import usable_cores

SCRIPT = zoo_sides.__file__
PAIR = ("tsn", "tsm")
OURS = ("paddle", "paddle-inference", "onnxruntime", "openvino")
THEIRS = {"PyTorch": False, "PyTorch, channels-last": True}  # title -> its memory format
ALLOWED_GFLOPS, ALLOWED_SHIFT = 2.0, 1.05  # percent; TSM's time over TSN's
ALLOWED = 1e-3  # difference of a probability from our dynamic network's, with random weights
SHIFT_ROUNDS = 3  # times --rounds


class Results:
    """What was measured, in a file: part -> network (or engine, of "shift") -> figures."""

    def __init__(self, path: Path, threads: int, fresh: bool):
        self._path = path
        self.parts: dict[str, Any] = {"threads": threads, "cost": {}, "speed": {}, "training": {}, "shift": {}}
        if path.exists() and not fresh:
            try:
                known = json.loads(path.read_text(encoding="utf-8"))
                same = known["threads"] == threads
                self.parts = {name: known[name] for name in self.parts}
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path} is no file of results; begin anew with --fresh") from error
            if not same:
                raise InputError(f"{path} was measured with {known['threads']} threads; begin anew with --fresh")

    def keep(self, part: str, found: dict[str, Any]) -> None:
        """Adds to a part, and writes the file."""
        self.parts[part].update(found)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(self._path) as file:
            json.dump(self.parts, file, indent=1)


def main() -> None:
    args = parse_arguments()
    set_up_logging()
    print(f"{machine()} {args.threads} threads.\n", flush=True)
    results = Results(args.results, args.threads, args.fresh)
    for part in args.parts:
        wanted = [name for name in args.networks if name not in results.parts[part]]
        for group in groups(wanted) if part == "speed" else [[name] for name in wanted]:
            logger.info("%s: %s", part, ", ".join(ENTRIES[name].title for name in group))
            PARTS[part](args, group, results)
    report(args.networks, results.parts)


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=ENTRIES, default=[*ENTRIES], help="which (all)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS], help="which (all)")
    parser.add_argument("--rounds", type=cli.positive_int, default=3, metavar="N", help="(3)")
    parser.add_argument("--threads", type=cli.positive_int, default=usable_cores(), metavar="N", help="(one a core)")
    parser.add_argument("--torch_python", type=cli.path, default=sys.executable, metavar="PYTHON", help="has torch")
    results = CLIPS / "zoo.json"
    parser.add_argument("--results", type=Path, default=results, metavar="FILE", help="(benchmark/clips/zoo.json)")
    parser.add_argument("--fresh", action="store_true", help="forget what is in the file")
    return parser.parse_args()


def groups(names: Sequence[str]) -> list[list[str]]:
    """Those that take turns with each other: TSN and TSM, if both are there; each of the others alone."""
    pair = [*PAIR] if set(PAIR) <= {*names} else []
    return ([pair] if pair else []) + [[name] for name in names if name not in pair]


# ---- the parts


def part_cost(args: argparse.Namespace, group: Sequence[str], results: Results) -> None:
    side = Side(SCRIPT, "ours", threads=args.threads)
    for name in group:
        results.keep("cost", {name: answered(side.do("cost", network=name))})
    side.close()


def part_speed(args: argparse.Namespace, group: Sequence[str], results: Results) -> None:
    with tempfile.TemporaryDirectory(prefix="zoo_table_") as folder:
        rows = {name: speed_rows(args, name, Path(folder) / name) for name in group}
        try:
            for name, each in rows.items():
                for row in each.values():
                    row.start(network=name, folder=str(Path(folder) / name))
                    if row.started.get("difference", 0.0) > ALLOWED:
                        row.error = f"a probability is off by {row.started['difference']:.0e}"
            every = [row for each in rows.values() for row in each.values()]
            rounds = args.rounds * (SHIFT_ROUNDS if len(group) > 1 else 1)
            take_turns(every, [{}] * rounds)
        finally:
            for each in rows.values():
                for row in each.values():
                    row.close()
    if len(group) > 1:
        results.keep("shift", {engine: shift_of(*(rows[name][engine] for name in PAIR)) for engine in rows[PAIR[0]]})
    results.keep("speed", {name: {title: figures(row) for title, row in each.items()} for name, each in rows.items()})


def speed_rows(args: argparse.Namespace, name: str, folder: Path) -> dict[str, Row]:
    """Each engine, and PyTorch; of a network whose programs are made here."""
    folder.mkdir()
    maker = Side(SCRIPT, "ours", threads=args.threads)
    made = maker.do("make", network=name, folder=str(folder))
    maker.close()
    rows = {}
    for engine in OURS:
        error = made.get("error") or made["missing"].get(ENGINES.get(engine).program, "")
        rows[engine] = Row(engine, SCRIPT, "engine", threads=args.threads, ways={"": {"engine": engine}}, error=error)
    for title, channels_last in THEIRS.items() if ENTRIES[name].peer else ():
        forms = ("rolled", "published") if name == "tsm" else ("",)
        ways = {form: {"channels_last": channels_last, "form": form} for form in forms}
        rows[title] = Row(title, SCRIPT, "torch", args.torch_python, args.threads, ways)
    return rows


def part_training(args: argparse.Namespace, group: Sequence[str], results: Results) -> None:
    for name in group:
        row = Row(name, SCRIPT, "train", threads=args.threads)
        row.start(network=name)
        take_turns([row], [{}] * args.rounds)
        row.close()
        results.keep("training", {name: figures(row)})


PARTS = {"cost": part_cost, "speed": part_speed, "training": part_training}


def answered(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer. Raises InputError if it is an error."""
    if "error" in answer:
        raise InputError(f"a side failed: {answer['error']}")
    return answer


def figures(row: Row) -> dict[str, Any]:
    """Of a row, for the file."""
    if row.error:
        return {"error": row.error}
    keys = ("ms", "cpu_ms", "peak_mb")
    return {**{key: row.median(key) for key in keys}, "fastest": row.fastest(), "note": row.note}


def shift_of(tsn: Row, tsm: Row) -> dict[str, Any]:
    """TSM's time over TSN's in each round: {"ms": [...], "cpu_ms": [...]}."""
    if tsn.error or tsm.error:
        return {"error": tsn.error or tsm.error}
    keys = ("ms", "cpu_ms")
    return {key: [theirs[key] / ours[key] for ours, theirs in zip(tsn.turns, tsm.turns)] for key in keys}


# ---- the tables


def report(names: Sequence[str], parts: dict[str, Any]) -> None:
    """Prints what is known."""
    print_shift(parts["shift"])
    notes = [f"{ENTRIES[name].title}, {title}: {each['error']}" for name, title, each in _errors(names, parts)]
    print_table("Cost, and published scores", COST_HEADER, [cost_row(name, parts["cost"].get(name)) for name in names])
    print_table("Speed and memory", SPEED_HEADER, [speed_row(name, parts) for name in names])
    print("\n".join(f"- left out: {note}" for note in notes), flush=True)


COST_HEADER = "network | clip | parameters, M | GFLOPs | published | differs, % | top-1, % | measured with; source"
_TIMES = " | ".join(f"{title}, ms" for title in (*OURS, *THEIRS))
SPEED_HEADER = f"network | clip | {_TIMES} | MB | training, clips/s | training, MB"


def print_shift(found: dict[str, Any]) -> None:
    """TSM's time over TSN's."""
    rows = []
    for engine, each in found.items():
        if "error" in each:
            rows.append((engine, f"left out: {each['error']}"))
            continue
        bar = "" if engine in THEIRS else "yes" if median(each["ms"]) <= ALLOWED_SHIFT else "no"
        rows.append((engine, spread(each["ms"]), spread(each["cpu_ms"]), bar))
    if rows:
        print_table("TSM-50's time over TSN-50's, 8 x 224", f" | time | processor time | at most {ALLOWED_SHIFT}", rows)


def cost_row(name: str, found: dict[str, float] | None) -> tuple:
    """A row of the first table."""
    entry = ENTRIES[name]
    if found is None:
        return (entry.title, entry.clip)
    differs = "-"
    if entry.gflops:
        percent = 100 * (found["gflops"] / entry.gflops - 1)
        differs = f"{percent:+.2f}" + ("" if abs(percent) <= ALLOWED_GFLOPS else " (more than 2)")
    source = "; ".join(filter(None, (entry.protocol, entry.gflops_source and f"GFLOPs: {entry.gflops_source}")))
    counted = (f"{found['parameters'] / 1e6:.1f}", f"{found['gflops']:.2f}")
    published = f"{entry.gflops:.2f}" if entry.gflops else "-"
    return (entry.title, entry.clip, *counted, published, differs, entry.top1 or "-", source or "-")


def speed_row(name: str, parts: dict[str, Any]) -> tuple:
    """A row of the second table."""
    speed, training = parts["speed"].get(name, {}), parts["training"].get(name, {})
    times = [speed.get(title, {}).get("ms", "-") for title in (*OURS, *THEIRS)]
    measured = [speed[engine] for engine in OURS if "ms" in speed.get(engine, {})]
    memory = min(measured, key=lambda each: each["ms"])["peak_mb"] if measured else "-"
    trains = (1000 / training["ms"], training["peak_mb"]) if "ms" in training else ("-", "-")
    return (ENTRIES[name].title, ENTRIES[name].clip, *times, memory, *trains)


def _errors(names: Sequence[str], parts: dict[str, Any]) -> list[tuple[str, str, dict[str, str]]]:
    """Who was not measured: network, engine or "training", figures."""
    found = [(name, title, each) for name in names for title, each in parts["speed"].get(name, {}).items()]
    found += [(name, "training", parts["training"][name]) for name in names if name in parts["training"]]
    return [each for each in found if "error" in each[2]]


if __name__ == "__main__":
    cli.run(main)
