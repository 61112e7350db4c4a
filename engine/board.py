"""Curves for VisualDL (`visualdl --logdir SAVE_DIR/visualdl --language en`)."""

from __future__ import annotations

from pathlib import Path

from visualdl import LogWriter

from engine.interfaces import Scores


class Board:
    """Writes scalars by global step to a folder."""

    def __init__(self, folder: Path):
        self._writer = LogWriter(logdir=str(folder))

    def add(self, phase: str, step: int, scores: Scores, **others: float) -> None:
        """Loss, top-1, top-5 and `others` of a phase ("train", "valid") at a global step."""
        values = {"loss": scores.loss, "top1": scores.top1, "top5": scores.top5, **others}
        for name, value in values.items():
            self._writer.add_scalar(tag=f"{phase}/{name}", value=value, step=step)

    def close(self) -> None:
        """Writes what is buffered."""
        self._writer.close()
