"""Jester: csv files as Something-Something V1's, 27 gestures of hands.

Materzynska, Berger, Bax, Memisevic: The Jester Dataset, ICCV Workshops 2019
"""

from __future__ import annotations

from pathlib import Path

from video_zoo.dataset.official.annotations import DataSet, Official
from video_zoo.dataset.official.something import read_csv

MIRRORED = (
    ("Swiping Left", "Swiping Right"),
    ("Sliding Two Fingers Left", "Sliding Two Fingers Right"),
    ("Turning Hand Clockwise", "Turning Hand Counterclockwise"),
)


def read(folder: Path, order: str) -> Official:
    """The classes, which have no official numbers, and the lists."""
    return read_csv(folder, "jester-v1", order)


DATA_SET = DataSet("jester.txt", read, True, "%05d.jpg", MIRRORED)
