"""A video file that stays open, and gives the clips of its windows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from video_zoo.datareader.decode import Frame, VideoError, open_video
from video_zoo.datareader.rgb import ToRGB
from video_zoo.datareader.sampling import Cut, Cuts, Windows
from video_zoo.datareader.timeline import timeline_of
from video_zoo.datareader.views import View


class WindowedVideo:
    """An open video, whose windows are read one after the other.

    Where its packets say what is needed for which frame, it is `selective`: only that is decoded. Else the whole file
    is decoded twice, for the times of its frames and then for the frames, however many calls that takes; only a window
    before the last one begins anew. In memory is one full frame, and of others what goes into clips.

    Raises VideoError, av.FFmpegError, OSError or ValueError: it cannot be read; so do all calls.
    """

    def __init__(self, path: Path, decoder: str, windows: Windows, view: View):
        self.path = path
        self.selective = False
        self.cuts: Sequence[Cut] = ()  # all of them, once the times of the frames are known
        self.jumps = 0  # of the file's clock; likewise
        self._windows, self._view = windows, view
        self._times: list[float] = []
        self._video = open_video(path, decoder)
        if not self._video.table.unclear:
            self.selective, self._to_rgb = True, ToRGB()
            times_s, self.jumps = self._video.times()
            self.cuts = Cuts(times_s, windows)
        else:
            self._survey_again()

    @property
    def num_frames(self) -> int:
        """Frames, or whole frames before the damage; known after `survey`."""
        return len(self._times)

    @property
    def damage(self) -> str | None:
        """What is wrong with the file; known after `survey`."""
        return self._video.table.damage

    def close(self) -> None:
        """Closes the file."""
        self._video.container.close()

    # --- where parts of it can be decoded by themselves

    def fill_selected(self, first: int, clips: np.ndarray) -> list[Cut]:
        """Fills `clips`, uint8 (n, T, 3, H, W), with the windows from number `first` on, and says which they are.

        Raises Unclear: parts cannot be decoded by themselves after all.
        """
        cuts = self.cuts[first : first + len(clips)]
        places: dict[int, list[tuple[int, int]]] = {}  # frame -> (clip, place in it)
        for clip, cut in enumerate(cuts):
            for place, number in enumerate(self._indices(cut)):
                places.setdefault(number, []).append((clip, place))
        for number, frame in self._video.decode_selected(places) if places else ():
            image = self._view.transformed(self._to_rgb(frame))
            for clip, place in places[number]:
                clips[clip, place] = image
        return cuts

    def give_up_selecting(self) -> None:
        """From now on it is decoded from its start to its end."""
        self.selective, self.cuts = False, ()
        self._survey_again()

    # --- where it must be decoded from its start to its end

    def survey(self, until: float) -> bool:
        """Decodes on for the times of the frames, until then on the monotonic clock; whether it is through.

        Raises VideoError: not one frame.
        """
        if self.cuts:
            return True
        for stamp, _ in self._frames:
            self._times.append(self._timeline.add(stamp))
            if time.monotonic() > until:
                return False
        if not self._times:
            raise VideoError(f"not one frame can be decoded{f': {self.damage}' if self.damage else ''}")
        self._times.sort()  # an AVI file may have the times of two frames exchanged
        self.cuts = Cuts([time_s - self._times[0] for time_s in self._times], self._windows)
        self.jumps = self._timeline.jumps
        self._begin(0)
        return True

    def fill_in_order(self, first: int, clips: np.ndarray, until: float) -> list[Cut]:
        """As `fill_selected`, after `survey`; fewer windows than there is room for when the time is over."""
        cuts = self.cuts[first : first + len(clips)]
        for place, clip in enumerate(clips[: len(cuts)]):
            frames = self._frames_of(first + place, until)
            if frames is None:
                return cuts[:place]
            for target, frame in zip(clip, frames):
                target[:] = frame
        return cuts

    def _frames_of(self, number: int, until: float) -> list[np.ndarray] | None:
        """The transformed frames of a window; None: not yet."""
        if number < self._window:
            self._begin(number)
        self._window, cut = number, self.cuts[number]
        self._planned = max(self._planned, number)
        self._kept = {place: frame for place, frame in self._kept.items() if place >= cut.first}
        wanted = self._indices(cut)
        while self._number <= max(wanted):
            _, to_rgb = next(self._frames, (None, None))
            if to_rgb is None:
                raise VideoError("its number of frames changes from one decoding to the next")
            while self._planned < len(self.cuts) and self.cuts[self._planned].first <= self._number:
                self._wanted.update(self._indices(self.cuts[self._planned]))
                self._planned += 1
            if self._number in self._wanted:
                self._wanted.remove(self._number)
                self._kept[self._number] = self._view.transformed(to_rgb())
            self._number += 1
            if time.monotonic() > until and self._number <= max(wanted):
                return None
        return [self._kept[place] for place in wanted]

    def _begin(self, window: int) -> None:
        """Decodes from the start again, for the windows from this one on."""
        self._frames = _frames_of(self._video)
        self._number = 0  # of the next frame
        self._window = self._planned = window  # asked for; whose frames are not among the wanted yet
        self._wanted: set[int] = set()
        self._kept: dict[int, np.ndarray] = {}

    def _survey_again(self) -> None:
        self._frames, self._times = _frames_of(self._video), []
        self._timeline = timeline_of(self._video.stream)

    # --- either way

    def _indices(self, cut: Cut) -> list[int]:
        return [cut.first + index for index in self._view.indices(cut.num_frames)]


def _frames_of(video: Any) -> Iterator[Frame]:
    to_rgb = ToRGB()
    for frame in video.decode_all():
        yield frame.pts, lambda frame=frame: to_rgb(frame)
