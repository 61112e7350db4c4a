"""Which frames of a stream are taken, and whether those who take them keep pace with a live one."""

from __future__ import annotations

import math
import time

from video_zoo.datareader.sampling import NEARLY_S

_LATE_S = 0.25  # that a frame may wait longer than the source lets us wait for frames
_FADES = 0.25  # seconds a second by which the longest gap between a source's frames is forgotten
_DRIFT = 0.001  # seconds a second by which clocks may drift apart


class FrameRate:
    """Chooses frames by their times: of each moment 0, 1 / fps, 2 / fps ... the first frame at or after it.

    Of a stream with fewer frames than that, each is taken once.
    """

    def __init__(self, fps: float):
        self._fps = fps
        self._next = 0  # number of the first moment that has no frame yet

    def takes(self, time_s: float) -> bool:
        """Whether the frame of this time is taken; asked of each frame in turn."""
        passed = math.floor((time_s + NEARLY_S) * self._fps)
        if passed < self._next:
            return False
        self._next = passed + 1
        return True


class Pace:
    """How the frames of a live source come: how long it lets us wait for one, and since when nobody had to wait.

    Frames that come in bursts, as those of HLS, may wait as long as the gaps between the bursts. Gaps are forgotten by
    and by, and frames that came all at once make none: what came late once is no reason to stay behind.
    """

    def __init__(self) -> None:
        self._came = self._waited = 0.0  # the monotonic clock at the last frame, and at the last that was waited for
        self.begin()

    def begin(self) -> None:
        """The stream broke off."""
        self._lead_s = math.inf  # by which the monotonic clock was ahead of the frames' times, at least
        self._gap_s = 0.0  # the longest of late
        self._lag_s = 0.0  # of the last frame

    def add(self, time_s: float, step_s: float, waited_s: float | None) -> None:
        """A frame has come.

        Args:
            time_s, step_s: the frame's time, and by how much that is behind the last one's.
            waited_s: how long its thread waited for it; None: it is the first one behind a break.
        """
        moment = time.monotonic()
        passed_s, self._came = moment - self._came, moment
        self._gap_s = max(waited_s or 0.0, self._gap_s - _FADES * passed_s)
        self._lead_s = min(self._lead_s + _DRIFT * passed_s, moment - time_s)
        self._lag_s = self.lag_s(moment, time_s)
        if waited_s is None or waited_s >= step_s / 2:  # else it waited for the thread
            self._waited = moment

    @property
    def is_behind(self) -> bool:
        """Whether the thread that reads is too far behind its source: frames come late, though it need not wait for
        them. Of a source that runs faster than the clock, none is late."""
        return min(self._came - self._waited, self._lag_s) > _LATE_S + self._gap_s

    def is_late(self, ready: float) -> bool:
        """Whether a frame has waited too long, since `ready` by the monotonic clock: there are newer ones."""
        now = time.monotonic()
        return now - ready > _LATE_S + max(self._gap_s, now - self._came)

    def lag_s(self, ready: float, time_s: float) -> float:
        """How much later than its time says a frame was ready."""
        return ready - self._lead_s - time_s
