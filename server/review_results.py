"""What is reviewed: the predictions of a folder with results, and where their videos are."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Optional

from video_zoo.datareader.class_folders import UNFIT, VIDEO_EXTENSIONS
from video_zoo.datareader.labels import KINETICS_400, read_class_names
from video_zoo.engine.evaluation_files import EVAL, PREDICTIONS
from video_zoo.engine.results import from_json
from video_zoo.engine.stored_evaluation import StoredEvaluation, read_evaluation
from video_zoo.utils.errors import InputError
from video_zoo.utils.json_files import check_fields, is_text, parse_json
from video_zoo.utils.log import heartbeat
from video_zoo.utils.open_files import open_regular
from video_zoo.utils.paths import RealPaths

CHOICES = 5  # classes of an item that are offered
_ENDING, _PARTIAL = "_infer_result.jsonl", "_infer_result.partial.jsonl"
_MOST_BYTES, _LINE_BYTES = 1 << 31, 1 << 24  # of a file, and of a line of it

Span = tuple[float, float]  # from and to, in seconds from the first frame
Key = tuple[str, Optional[Span]]  # a video, and its window if it is one


class Item(NamedTuple):
    """A prediction that is reviewed.

    Args:
        video: as the results name it.
        span: of a window, in seconds from the first frame; None: the whole video.
        choices: (class, probability), the predicted class first; the probability is None for the label of a list.
        label: the class that the evaluated list has; None without a list.
        path: absolute, for lists; empty if there is no such video.
        real: the file that is shown, without symbolic links; empty if there is none.
        problem: why it cannot be shown or listed; empty if it can.
    """

    video: str
    span: Span | None
    choices: list[tuple[int, float | None]]
    label: int | None
    path: str = ""
    real: str = ""
    problem: str = ""

    @property
    def key(self) -> Key:
        """What a decision is about."""
        return self.video, self.span

    @property
    def predicted(self) -> int:
        """The most probable class."""
        return self.choices[0][0]

    @property
    def confidence(self) -> float:
        """Its probability."""
        return self.choices[0][1]


@dataclass(frozen=True, eq=False)
class Results:
    """Args:
    source: the file, or the folder of an evaluation.
    items: each video, or window of one, once.
    names: of the classes by index, as far as they are known.
    complete: whether these are all classes.
    token: is another one when the results have changed.
    """

    source: Path
    items: list[Item]
    names: dict[int, str]
    complete: bool
    token: str

    @property
    def folder(self) -> Path:
        """Where the decisions go. An evaluation's own folder is replaced by the next one: they go beside it."""
        return self.source.parent


def find_results(place: str | os.PathLike) -> Path:
    """The results that a folder has: MODEL_infer_result.jsonl of infer.py, or the folder `eval` of test.py, which both
    can be named themselves.

    Raises InputError: there are none, or several.
    """
    place = Path(os.path.abspath(place))
    if place.is_file() or (place / EVAL).is_file():
        return place
    if not place.is_dir():
        raise InputError(f"no such folder: {place}; name the --save_dir of infer.py or of test.py")
    found = [*sorted(place.glob(f"*{_ENDING}")), *(path.parent for path in place.glob(f"eval/{EVAL}"))]
    if len(found) > 1:
        names = " and ".join(str(path) for path in found)
        raise InputError(f"{place} has several results: name one of {names}")
    if found:
        return found[0]
    if partial := next(place.glob(f"*{_PARTIAL}"), None):
        raise InputError(f"{partial} is not complete: wait for infer.py, or finish it with --resume=True")
    raise InputError(f"{place} has no results: name the --save_dir of infer.py (MODEL{_ENDING}) or of test.py (eval)")


def token_of(source: Path) -> str:
    """What is another one when the results have changed. Raises InputError: they cannot be read."""
    files = [source / EVAL, source / PREDICTIONS] if source.is_dir() else [source]
    try:
        states = [(state.st_mtime_ns, state.st_size, state.st_ino) for state in map(os.stat, files)]
    except OSError as error:
        raise InputError(f"cannot read the results {error.filename}: {error.strerror}") from error
    return hashlib.sha256(repr(states).encode()).hexdigest()[:16]


def read_results(source: Path, names: Sequence[str] = ()) -> Results:
    """Reads what `find_results` found.

    A relative path of a video is looked for in the working directory, the folder of the evaluated list, and the folder
    of the results.

    Args:
        names: of a network's classes, which are taken if the results are of these.

    Raises InputError: a line is damaged, there is nothing in it, or none of the videos is there.
    """
    token = token_of(source)
    roots = [os.curdir]
    if source.is_dir():
        stored = read_evaluation(source)
        roots.append(os.path.dirname(str(stored.facts["list"].get("path", ""))) or os.curdir)
        found, known, complete = _evaluated(stored), dict(enumerate(stored.names)), True
    else:
        known = {}
        with heartbeat(f"reading {source}"):
            found = list(_predicted(source, known))
        complete = {len(item.choices) for item in found} == {len(known)} and sorted(known) == list(range(len(known)))
        for others in () if complete else (names, read_class_names(KINETICS_400)):
            if known.items() <= (every := dict(enumerate(others))).items():
                known, complete = every, True
                break
    items: dict[Key, Item] = {}  # what a list has twice is reviewed once
    for item in found:
        items.setdefault(item.key, item._replace(choices=item.choices[:CHOICES]))
    if not items:
        raise InputError(f"{source} is empty: there is nothing to review")
    with heartbeat(f"looking for the videos of {source}"):
        located = list(_locate(items.values(), [*roots, source.parent]))
    if not any(item.path for item in located):
        raise InputError(
            f"none of the {len(located):,} videos of {source} is there, as {located[0].video}: relative paths begin"
            " where infer.py or test.py was started; start this there, too"
        )
    return Results(source, located, known, complete, token)


def _evaluated(stored: StoredEvaluation) -> list[Item]:
    """The items of an evaluation: the predicted class, and the label where it is another."""
    rows = zip(stored.ids, stored.labels.tolist(), stored.predicted.tolist(), stored.confidence.tolist())
    return [
        Item(video, None, [(predicted, confidence), *([(label, None)] if label != predicted else [])], label)
        for video, label, predicted, confidence in rows
    ]


def _predicted(path: Path, names: dict[int, str]) -> Iterator[Item]:
    """The items of a result file; `names` gets the names of its classes. Raises InputError: a line is damaged."""
    try:
        with open_regular(path, _MOST_BYTES) as file:
            for number, line in enumerate(iter(lambda: file.readline(_LINE_BYTES), b""), 1):
                try:
                    row = from_json(line)
                    if not row.classes:
                        raise ValueError("it has no class")
                    if not all(0 <= each <= 1 for each in row.probabilities):
                        raise ValueError("a probability is not between 0 and 1")
                    if not names.keys() >= set(row.classes):
                        for each in parse_json(line)["top"]:
                            names[each["class"]] = check_fields(each, {"name": is_text}, needed=["name"])["name"]
                except ValueError as error:
                    hint = f"it is no line of results ({error}); remove it, or run infer.py again"
                    raise InputError(f"{path}:{number}: damaged, {hint}") from None
                yield Item(row.video_id, row.span, list(zip(row.classes, row.probabilities)), None)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _locate(items: Iterable[Item], roots: Sequence[str | os.PathLike]) -> Iterator[Item]:
    """The items with their files, as far as there are any. Only what is a video by its name is ever shown."""
    real_path = RealPaths()
    for item in items:
        paths = (os.path.abspath(os.path.join(root, item.video)) for root in roots)
        try:
            path = next(filter(os.path.isfile, paths), "")
            real = real_path(path) if path else ""
        except (OSError, ValueError):  # no possible name
            path = real = ""
        problem = ""
        if not path:
            problem = "The video is missing: there is no such file."
        elif os.path.splitext(real)[1].lower() not in VIDEO_EXTENSIONS:
            problem, real = "The file is not shown: its name has no extension of a video.", ""
        elif UNFIT.search(path):
            problem = "The name does not fit a list, which is a line of UTF-8 text for each video: rename the file."
        yield item._replace(path=path, real=real, problem=problem)
