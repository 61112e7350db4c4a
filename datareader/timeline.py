"""One time line for the frames of a video, whatever its clock does."""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from typing import Any

from video_zoo.datareader.sampling import USUAL_STEP_S

# The longest step from one frame to the next that is no jump of the clock: of a transport stream, whose times come at
# least every 0.7 s (ISO/IEC 13818-1, 2.7.4) and which goes on where it was joined or a receiver lost it; and of a file
# whose times were written once for all of it, where a picture may stand as long as a slide.
LONGEST_STEP_S, LONGEST_STILL_S = 10.0, 3600.0
_TRANSPORT = 0x200  # AVFMT_TS_DISCONT of FFmpeg: times of the format may be discontinuous; Ogg has it, and is a file
_REORDERED = 16  # frames that one may come too late, by any standard
_REMEMBERED = 33  # steps whose median is the usual one


class Timeline:
    """Times of frames, in seconds from the first one, which go on where their clock jumps.

    Frames come in the order in which they are shown or sent. A stamp jumps if it is too far ahead of the latest frame;
    or if it is earlier, by more than pictures are reordered, or than all since the last jump: in some
    files neighbours have each other's stamps. At a jump, and without a stamp, a frame follows the latest one after the
    usual step.

    Args:
        unit_s: of the stamps, in seconds.
        longest_s: the longest step ahead that is no jump.
        step_s: the usual step before it is known.
    """

    def __init__(self, unit_s: Fraction | float = 1, longest_s: float = LONGEST_STILL_S, step_s: float = USUAL_STEP_S):
        self.now_s: float | None = None  # of the latest frame
        self.jumps = 0
        self._unit_s, self._longest_s, self._first_step_s = float(unit_s), longest_s, step_s
        self._begin: tuple[float, float] | None = None  # stamp and time of the first frame since the last jump
        self._steps_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._late = 0  # frames in a row that were behind the latest one

    @property
    def step_s(self) -> float:
        """The usual step: the median of the last ones."""
        return sorted(self._steps_s)[len(self._steps_s) // 2] if self._steps_s else self._first_step_s

    def forget(self) -> None:
        """The next stamp says nothing: where it belongs is known from elsewhere."""
        self._begin = None

    def add(self, stamp: float | None, step_s: float | None = None) -> float:
        """The time of the next frame; it is below `now_s` only for a frame that comes late.

        Args:
            step_s: to it from the latest one, where its stamp does not say; None: the usual one.
        """
        time_s = None
        if stamp is not None and self._begin is not None:
            time_s = self._begin[1] + (stamp - self._begin[0]) * self._unit_s
            if self._is_jump(time_s):
                self.jumps += 1
                time_s = None
        if time_s is None:
            step_s = self.step_s if step_s is None else step_s
            time_s = 0.0 if self.now_s is None else self.now_s + step_s
            if stamp is not None:
                self._begin, self._late = (stamp, time_s), 0
        if self.now_s is None or time_s > self.now_s:
            if self.now_s is not None:
                self._steps_s.append(time_s - self.now_s)
            self.now_s = time_s
        return time_s

    def _is_jump(self, time_s: float) -> bool:
        ahead_s = time_s - self.now_s
        if ahead_s >= 0:
            self._late = 0
            return ahead_s > self._longest_s
        self._late += 1
        too_late = self._late > _REORDERED or -ahead_s > _REORDERED * self.step_s
        return too_late or time_s <= self._begin[1]


def describe_jumps(jumps: int) -> str:
    """What is said of a video whose clock jumps."""
    return f"its clock jumps {'once' if jumps == 1 else f'{jumps} times'}; its times go on behind that"


def stamp_of(frame: Any, stream: Any) -> int | None:
    """What a decoded frame says of its time, in units of the stream's time base.

    AVI files have no times of presentation: where pictures are reordered (H.264), FFmpeg's guess gives neighbours each
    other's. The times of decoding rise evenly there, and frames come as evenly out of the decoder.
    """
    return frame.dts if stream.container.format.name == "avi" else frame.pts


def timeline_of(stream: Any, unit_s: float | None = None, live: bool = False) -> Timeline:
    """A new time line for a stream of an open container, whose stamps are in units of its time base, or of `unit_s`."""
    form = stream.container.format
    transport = form.flags & _TRANSPORT and form.name != "ogg"
    longest_s = LONGEST_STEP_S if live or transport else LONGEST_STILL_S
    step_s = float(1 / stream.average_rate) if stream.average_rate else USUAL_STEP_S
    return Timeline(stream.time_base if unit_s is None else unit_s, longest_s, step_s)
