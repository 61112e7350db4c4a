"""A prediction: how it is made of probabilities, and as a row of JSON, a table's lines and v1.5's pickle."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from video_zoo.utils.files import atomic_file
from video_zoo.utils.json_files import check_fields, is_count, is_number, is_text, list_of, parse_json
from video_zoo.utils.texts import one_line


def _is_class(each: Any) -> bool:
    return isinstance(each, dict) and is_count(each.get("class")) and is_number(each.get("probability"))


_ROW = {"video": is_text, "start_s": is_number, "end_s": is_number, "top": list_of(_is_class)}


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of a video, or of a window of it: indices and probabilities, descending. span: seconds,
    from and to, of the window in its video or stream; None: the whole video."""

    video_id: str
    classes: list[int]
    probabilities: list[float]
    span: tuple[float, float] | None = None


def top_classes(
    video_id: str, probabilities: np.ndarray, topk: int, span: tuple[float, float] | None = None
) -> Prediction:
    """The `topk` largest of the probabilities (classes,); of equal ones the lower class comes first."""
    order = np.argsort(-probabilities, kind="stable")[:topk]
    return Prediction(video_id, order.tolist(), probabilities[order].tolist(), span)


def span_text(prediction: Prediction) -> str:
    """The span in seconds, as `12.0-14.0 s`; empty for a whole video."""
    return f"{prediction.span[0]:.1f}-{prediction.span[1]:.1f} s" if prediction.span else ""


def format_table(predictions: Sequence[Prediction], names: Sequence[str], topk: int = 5) -> str:
    """Each video, its span if there is one, and its `topk` classes: percent and name, best first."""
    lines = []
    for row in predictions:
        video = one_line(row.video_id)
        lines.append(f"{video}  {span_text(row)}" if row.span else video)
        for index, probability in zip(row.classes[:topk], row.probabilities):
            lines.append(f"  {100 * probability:6.2f}%  {one_line(names[index])}")
    return "\n".join(lines)


def to_json(prediction: Prediction, names: Sequence[str]) -> bytes:
    """A line of JSON, UTF-8, with its end: {"video", "start_s"?, "end_s"?, "top": [{"class", "name",
    "probability"}, ...]}."""
    row: dict[str, Any] = {"video": prediction.video_id}
    if prediction.span:
        row["start_s"], row["end_s"] = prediction.span
    row["top"] = [
        {"class": index, "name": names[index], "probability": probability}
        for index, probability in zip(prediction.classes, prediction.probabilities)
    ]
    return json_line(row)


def json_line(row: Mapping[str, Any]) -> bytes:
    """A line of JSON, UTF-8, with its end. A file's name that is no text keeps its bytes, as Python writes them
    (PEP 383), escaped."""
    try:
        return (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(row) + "\n").encode()


def from_json(line: bytes) -> Prediction:
    """The prediction that `to_json` made a line of. Raises ValueError if it is none."""
    row = check_fields(parse_json(line), _ROW, needed=("video", "top"))
    if ("start_s" in row) != ("end_s" in row):
        raise ValueError("it has one end of a window without the other")
    span = (float(row["start_s"]), float(row["end_s"])) if "start_s" in row else None
    top = row["top"]
    return Prediction(row["video"], [each["class"] for each in top], [float(each["probability"]) for each in top], span)


def write_pickle(path: Path, predictions: Iterable[Prediction]) -> None:
    """v1.5's result file: protocol 0, a list of (video id, [probabilities, descending], [class indices]).

    Rows are written as they come, so that a long list need not fit into memory. Raises InputError if the file cannot
    be written.
    """
    with atomic_file(path, "wb") as file:
        file.write(pickle.MARK + pickle.LIST)
        for row in predictions:
            values = (row.video_id, row.probabilities, row.classes)
            file.write(pickle.dumps(values, protocol=0)[: -len(pickle.STOP)] + pickle.APPEND)
        file.write(pickle.STOP)
