"""Cuts recordings at their events: FOLDER/CLASS/*.mp4, which train.py --data takes.

    python dataset/cut_events.py RECORDINGS --out=FOLDER --nothing

Beside each recording NAME.mp4 lies NAME.jsonl, a line an event: {"name": "wave", "start_s": 3.2, "end_s": 4.6}, in
seconds from the first frame. infer.py --online writes its events so, too; further fields are not looked at. With
--nothing, the stretches between the events, of a second or more, become the class "nothing".
"""

from __future__ import annotations

from video_zoo.utils import startup

if __name__ == "__main__":
    startup.begin()

import collections
import contextlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import av

from video_zoo.datareader.class_folders import find_videos
from video_zoo.datareader.decode import VideoError, open_video
from video_zoo.datareader.timeline import stamp_of, timeline_of
from video_zoo.datareader.video_writer import Transcoder
from video_zoo.utils import cli
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_folder, fit_name
from video_zoo.utils.json_files import check_fields, is_number, is_text, parse_json
from video_zoo.utils.log import logger, set_up_logging
from video_zoo.utils.texts import read_lines

NOTHING = "nothing"
SHORTEST_NOTHING_S = 1.0
_NO_FOLDER = re.compile(r"[/\\\0-\x1f]|^\.|^\s|\s$|^$")  # what a class that becomes a folder's name may not have
_OPTIONS = {"crf": "18", "preset": "fast", "g": "12"}


class Event(NamedTuple):
    """A stretch of a recording, in seconds from its first frame: frames from `start_s` to before `end_s`."""

    name: str
    start_s: float
    end_s: float


def read_events(path: Path) -> list[Event]:
    """The events of a file of JSON Lines, by their start.

    Raises InputError: the file or a line is not as it should be; the message says which.
    """
    events = []
    fields = {"name": is_text, "start_s": is_number, "end_s": is_number}
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = check_fields(parse_json(line), fields, needed=fields)
            if not 0 <= row["start_s"] < row["end_s"]:
                raise ValueError(f"it goes from {row['start_s']} s to {row['end_s']} s")
            if _NO_FOLDER.search(row["name"]):
                raise ValueError(f"the name {row['name']!r} cannot be that of a folder")
        except (ValueError, json.JSONDecodeError) as error:
            raise InputError(
                f'{path}:{number}: {error}; an event is {{"name": "wave", "start_s": 3.2, "end_s": 4.6}}'
            ) from None
        events.append(Event(row["name"], float(row["start_s"]), float(row["end_s"])))
    return sorted(events, key=lambda event: event.start_s)


def between(events: Sequence[Event], length_s: float) -> list[Event]:
    """What lies between the events of a recording, as far as it is long enough; events are ordered by their start."""
    found, end_s = [], 0.0
    for start_s, next_s in [*((event.start_s, event.end_s) for event in events), (length_s, length_s)]:
        if start_s - end_s >= SHORTEST_NOTHING_S:
            found.append(Event(NOTHING, end_s, start_s))
        end_s = max(end_s, next_s)
    return found


def cut(path: Path, events: Sequence[Event], nothing: bool, folder: Path, first: int) -> list[str]:
    """Writes FOLDER/CLASS/NUMBER_NAME.mp4 for each event of a recording that has frames; returns their classes.

    Args:
        nothing: whether what lies between them is written, too.
        first: the first number.

    Raises VideoError: it cannot be read.
    """
    written: list[str] = []
    with contextlib.ExitStack() as stack:
        video = stack.enter_context(open_video(path))
        if nothing:
            times_s, _ = video.times()
            events = [*events, *between(events, times_s[-1] if times_s else 0.0)]
        waiting = sorted(events, key=lambda event: -event.start_s)
        open_now: list[tuple[Event, contextlib.ExitStack, Transcoder]] = []
        timeline = timeline_of(video.stream)
        for frame in video.decode_all():
            time_s = timeline.add(stamp_of(frame, video.stream))
            for each in [each for each in open_now if each[0].end_s <= time_s]:
                each[1].close()
                open_now.remove(each)
            while waiting and waiting[-1].start_s <= time_s:
                event = waiting.pop()
                if time_s < event.end_s:
                    target = folder / event.name / fit_name(f"{first + len(written):05d}_{path.stem}", ".mp4")
                    target.parent.mkdir(exist_ok=True)
                    own = stack.enter_context(contextlib.ExitStack())
                    open_now.append((event, own, own.enter_context(Transcoder(target, video.stream, frame, _OPTIONS))))
                    written.append(event.name)
            for *_, writer in open_now:
                writer.add(frame)
        if video.table.damage:
            logger.warning("%s: %s; the frames before the damage are used", path, video.table.damage)
    if missing := len(events) - len(written):
        logger.warning("%s: %d events have no frame: they lie behind the last, or between two", path, missing)
    return written


def cut_all(recordings: str, out: Path, nothing: bool) -> collections.Counter[str]:
    """Cuts all recordings of a folder; returns how many clips each class has. OUT is whole or not there.

    Raises InputError: nothing could be cut.
    """
    if not Path(recordings).is_dir():
        raise InputError(
            f"{recordings}: no such folder; it should hold recordings, each with a .jsonl of events beside"
        )
    counts: collections.Counter[str] = collections.Counter()
    videos = [Path(recordings, name) for name in find_videos(recordings, recordings, collections.Counter())]
    listed = {path: read_events(path.with_suffix(".jsonl")) for path in videos if path.with_suffix(".jsonl").is_file()}
    for path in videos:
        if path not in listed:
            logger.warning("left out: %s: no %s beside it", path, path.with_suffix(".jsonl").name)
    with atomic_folder(out) as folder:
        for path, events in listed.items():
            try:
                counts.update(cut(path, events, nothing, folder, sum(counts.values())))
            except (VideoError, av.FFmpegError) as error:
                raise InputError(f"{path}: {error}; mend or remove it") from error
        if not counts:
            raise InputError(f"{recordings}: no video with events; beside NAME.mp4 there must be NAME.jsonl")
    return counts


def main() -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("recordings", metavar="RECORDINGS", type=cli.path, help="a folder of videos with .jsonl beside")
    parser.add_argument("--out", required=True, metavar="FOLDER", type=cli.path, help="where the class folders go")
    parser.add_argument("--nothing", action="store_true", help=f'make a class "{NOTHING}" of what is between events')
    args = parser.parse_args()
    set_up_logging()
    out = Path(args.out)
    if out.exists():
        raise InputError(f"{out} is there already; delete it, or choose another --out")
    counts = cut_all(args.recordings, out, args.nothing)
    print(f"{out}: " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items())))


if __name__ == "__main__":
    cli.run(main)
