"""Predictions as v1.5's pickle, as JSON with class names, and as a table."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path

from engine.predict import Prediction
from utils.files import atomic_file


def write_pickle(path: Path, predictions: Sequence[Prediction]) -> None:
    """v1.5's result file: protocol 0, a list of (video id, [probabilities, descending], [class indices])."""
    rows = [(row.video_id, row.probabilities, row.classes) for row in predictions]
    with atomic_file(path, "wb") as file:
        pickle.dump(rows, file, protocol=0)


def write_json(path: Path, predictions: Sequence[Prediction], names: Sequence[str]) -> None:
    """A list of {"video": id, "top": [{"class", "name", "probability"}, ...]}."""
    rows = [
        {
            "video": row.video_id,
            "top": [
                {"class": index, "name": names[index], "probability": probability}
                for index, probability in zip(row.classes, row.probabilities)
            ],
        }
        for row in predictions
    ]
    with atomic_file(path) as file:
        json.dump(rows, file, ensure_ascii=False, indent=1)


def format_table(predictions: Sequence[Prediction], names: Sequence[str], topk: int = 5) -> str:
    """Each video and its `topk` classes: percent and name, best first."""
    lines = []
    for row in predictions:
        lines.append(row.video_id)
        for index, probability in zip(row.classes[:topk], row.probabilities):
            lines.append(f"  {100 * probability:6.2f}%  {names[index]}")
    return "\n".join(lines)
