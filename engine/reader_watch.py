"""Whether the reader keeps up with the network."""

from __future__ import annotations

from video_zoo.utils.log import logger

_SLOW_READER = 0.3  # of the time of this many steps, after the first ones, in which the readers start
_SLOW_READER_STEPS = range(5, 25)


class ReaderWatch:
    """Warns, once at most, where the reader holds the network up."""

    def __init__(self):
        self._steps = 0
        self._reader_s = self._all_s = 0.0

    def add(self, reader_s: float, compute_s: float) -> None:
        """Counts a step: the seconds it waited for the reader, and those it computed."""
        if self._steps in _SLOW_READER_STEPS:
            self._reader_s += reader_s
            self._all_s += reader_s + compute_s
        self._steps += 1
        if self._steps == _SLOW_READER_STEPS.stop and self._reader_s > _SLOW_READER * self._all_s:
            logger.warning(
                "the reader is the bottleneck: the network waits for it %.0f%% of the time. More processes help while"
                " there are idle cores (TRAIN.num_reader_threads), and dataset/prepare_videos.py makes videos that are"
                " read faster",
                100 * self._reader_s / self._all_s,
            )
