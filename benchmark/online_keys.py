"""Which keys of the section ONLINE find the events of streams best: the F1 score of events, of each set of keys.

    python benchmark/online_keys.py --config=C.yaml --weights=W --streams=DIR      (--help: the rest)

DIR has videos NAME.mp4 and their true events NAME.jsonl, as dataset/moving_shapes/make_streams.py makes them. Each is
followed once by the network; events are then found by engine/events.py with every set of keys. An event is right if its
class is, and it overlaps a true one, which no other has, by an IoU of at least 0.5. Streams of odd number choose the
keys, and those of even number say what they are worth.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from harness import machine, print_table

from video_zoo.configs.schema import Config
from video_zoo.datareader.labels import names_of
from video_zoo.datareader.online_frames import LOOK_S, OnlineFrames
from video_zoo.datareader.views import View
from video_zoo.engine.events import Event, EventFinder, EventRules
from video_zoo.engine.online import softmax
from video_zoo.engine.streams import Streams, open_streams
from video_zoo.models import MODELS, load_trained
from video_zoo.utils import cli
from video_zoo.utils.log import set_up_logging

SMOOTHING_S, STARTS, ENDS = (0, 0.1, 0.2, 0.3, 0.5, 0.8), (0.5, 0.6, 0.7, 0.8, 0.9), (0.2, 0.3, 0.4, 0.5)
SHORTEST_S = (0, 0.2, 0.4, 0.8)
COLUMNS = "F1, odd streams | F1, even streams"
IOU = 0.5
Followed = list[tuple[float, np.ndarray]]  # time in seconds and probabilities (classes,) of each frame that was taken


def main() -> None:
    parser = cli.Parser(description=__doc__)
    cli.add_common_flags(parser, MODELS, Config, "ONLINE")
    cli.add_weights_flag(parser)
    parser.add_argument("--streams", type=Path, required=True, metavar="DIR", help="videos with true events")
    args = parser.parse_args()
    set_up_logging()
    settings = cli.load_config(args, Config, {"INFER": {}, "ONLINE": {}}, MODELS)
    shape = settings.clip_shape("infer")[1:]
    network, _ = open_streams(partial(load_trained, settings, "infer", args.weights), "auto", "fp32", False, shape, 1)
    view = View.of(settings, "infer", MODELS.get(settings.MODEL.name).eval_transform)
    videos = sorted(args.streams.glob("*.mp4"))
    followed = [follow(path, network, view, settings.ONLINE.fps) for path in videos]
    truths = [read_events(path.with_suffix(".jsonl")) for path in videos]
    base = EventRules.of(settings.ONLINE, names_of(settings.MODEL))
    scores = {}
    for rules in all_rules(base):
        found = [find(each, rules._replace(min_event_s=0), settings) for each in followed]
        for shortest_s in sorted({*SHORTEST_S, base.min_event_s} if rules[:3] == base[:3] else SHORTEST_S):
            kept = [[event for event in each if event.end_s - event.start_s >= shortest_s] for each in found]
            scores[rules._replace(min_event_s=shortest_s)] = [f1(zip(kept[n::2], truths[n::2])) for n in (1, 0)]
    print(f"{machine()}\n")
    for key in EventRules._fields[:4]:
        best: dict[float, list[float]] = {}
        for rules, row in scores.items():
            value = getattr(rules, key)
            best[value] = max(best.get(value, [0, 0]), row)
        rows = map(table_row, sorted(best.items()))
        print_table(f"{key}, with the best of the other keys", f"{key} | {COLUMNS}", rows)
    ranked = sorted(scores.items(), key=lambda item: -item[1][0])
    rows = [table_row((" ".join(f"{value:g}" for value in rules[:4]), row)) for rules, row in ranked[:10]]
    rows.append(table_row(("the config's: " + " ".join(f"{value:g}" for value in base[:4]), scores[base])))
    print_table(
        f"{len(ranked)} sets of keys, the best ten and the config's", f"{' '.join(base._fields[:4])} | {COLUMNS}", rows
    )


def table_row(item: tuple[object, Sequence[float]]) -> tuple[object, ...]:
    """Of a value and its scores."""
    return (item[0], *(f"{score:.3f}" for score in item[1]))


def all_rules(base: EventRules) -> Iterable[EventRules]:
    """Every set of keys but min_event_s in which an event starts at or over its end, the config's among them."""
    for keys in {*itertools.product(SMOOTHING_S, STARTS, ENDS), base[:3]}:
        if keys[2] <= keys[1]:
            yield EventRules(*keys, base.min_event_s, base.background)


def follow(path: Path, network: Streams, view: View, fps: float) -> Followed:
    """What the network says of a video, frame by frame."""
    changed, rows = threading.Condition(), []
    frames = OnlineFrames(path, view.transformed, fps, changed)
    while not frames.ended or frames.is_waiting:
        frames.watch()
        with changed:
            if not (frames.is_waiting or frames.ended):
                changed.wait(LOOK_S)
        if (frame := frames.take()) is not None:
            rows.append((frame.time_s, softmax(network.step({path: frame.pixels})[path])))
    network.leave(path)
    return rows


def find(rows: Followed, rules: EventRules, settings: Config) -> list[Event]:
    """The events of a stream."""
    finder = EventFinder(rules, settings.MODEL.num_classes, 1 / settings.ONLINE.fps)
    found = [finder.add(*row) for row in rows]
    return [event for event in [*found, finder.close()] if event]


def read_events(path: Path) -> list[Event]:
    """The true events of a stream."""
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [Event(row["class"], row["start_s"], row["end_s"], 1.0, 1.0) for row in rows]


def f1(streams: Iterable[tuple[Sequence[Event], Sequence[Event]]]) -> float:
    """Of the events found in streams, given the true ones. Both follow each other in time."""
    right = found_count = true_count = 0
    for found, truth in streams:
        found_count, true_count = found_count + len(found), true_count + len(truth)
        left = list(truth)
        for event in found:
            match = next((each for each in left if each.label == event.label and iou(each, event) >= IOU), None)
            if match is not None:
                left.remove(match)
                right += 1
    return 2 * right / max(found_count + true_count, 1)


def iou(one: Event, other: Event) -> float:
    """How much two events overlap, of the time that they cover together."""
    common_s = min(one.end_s, other.end_s) - max(one.start_s, other.start_s)
    return max(common_s, 0.0) / max(one.end_s - one.start_s + other.end_s - other.start_s - common_s, 1e-9)


if __name__ == "__main__":
    cli.run(main)
