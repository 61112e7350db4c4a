"""Clips -> predictions; what is done with them runs beside the reading and the computing."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Callable

import numpy as np

from video_zoo.engine.backends.base import Backend
from video_zoo.engine.results import Prediction, format_table, top_classes
from video_zoo.utils.log import Progress, logger, print_line, timed

if TYPE_CHECKING:
    from video_zoo.datareader.batches import Batch
    from video_zoo.engine.result_files import ResultFiles

Write = Callable[[Sequence[Prediction], np.ndarray], None]  # the predictions of a batch, and its clips
_BEHIND = 2  # batches that writing may lag, at most
_PRINTED = 20  # predictions; the files have all


def predict(
    backend: Backend, batches: Iterable[Batch], topk: int, progress: Progress, write: Write, *, log_interval: int
) -> None:
    """Predicts the `topk` most probable classes of each clip, and hands each batch to `write`, in order, in a thread
    of its own. What `write` raises ends the pass.

    Args:
        progress: counts the clips, and where the time goes: waiting for the reader, computing, waiting for `write`.
        log_interval: batches between log lines; 0: none.
    """
    with Writer(write) as writer:
        for number, (batch, reader_s) in enumerate(timed(batches)):
            start = time.monotonic()
            probabilities = backend(batch.clips)  # (n, classes)
            computed = time.monotonic()
            spans = batch.spans or [None] * len(batch.ids)
            rows = zip(batch.ids, probabilities, spans)
            writer.put([top_classes(video_id, row, topk, span) for video_id, row, span in rows], batch.clips)
            seconds = {"compute": computed - start, "write": time.monotonic() - computed}
            progress.add(len(batch.ids), reader=reader_s, **seconds)
            if log_interval:
                progress.say(f"[INFER] Processed {progress.done} samples", due=number % log_interval == 0)
    progress.finish()


class Tee:
    """Writes a batch of predictions to the files, and prints the first ones, or all.

    Args:
        files: are open.
        names: of the classes.
    """

    def __init__(self, files: ResultFiles, names: Sequence[str], print_all: bool):
        self._files = files
        self._names = names
        self._left = None if print_all else _PRINTED

    def __call__(self, predictions: Sequence[Prediction], clips: np.ndarray) -> None:
        self._files.add(predictions, clips)
        shown = predictions[: self._left]
        if shown:
            print_line(format_table(shown, self._names))
        if self._left:
            self._left -= len(shown)
            if not self._left:
                logger.info("further predictions are in the files alone")


class Writer:
    """Calls a function with one batch after the other in a thread; leaving the context waits for the last one."""

    def __init__(self, write: Write):
        self._write = write
        self._waiting: queue.Queue[tuple | None] = queue.Queue(_BEHIND)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._waiting.put(None)  # after what waits, which is worth having also when the pass breaks off
        self._thread.join()
        if error[0] is None:
            self._check()

    def put(self, *batch: object) -> None:
        """Waits while the thread is too far behind. Raises what the function raised."""
        self._check()
        self._waiting.put(batch)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (batch := self._waiting.get()) is not None:
            if self._error is None:
                try:
                    self._write(*batch)
                except BaseException as error:  # it is raised in the main thread
                    self._error = error
