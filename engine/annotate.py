"""Videos with the most probable classes drawn into them."""

from __future__ import annotations

import errno
import itertools
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import av

from video_zoo.datareader.decode import reason_of
from video_zoo.datareader.sound import Sound
from video_zoo.datareader.timeline import describe_jumps, stamp_of
from video_zoo.datareader.video_file import open_container, packets_of, video_stream
from video_zoo.datareader.video_writer import Transcoder
from video_zoo.engine.overlay import Overlay
from video_zoo.engine.results import Prediction
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_path, fit_name, make_folder
from video_zoo.utils.log import heartbeat, logger

_OPTIONS = {"crf": "20", "preset": "veryfast"}  # x264's
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


class AnnotateError(InputError):
    """One video that cannot be annotated; others can."""


class Annotator:
    """Annotates the videos of a pass: each goes to FOLDER/STEM.mp4, or STEM_2.mp4 ... where two have the same name.

    Args:
        videos: id -> file, all of a list, so that a resumed pass gives the same names.
        folder: for the annotated videos.
        keep: those that are there stay as they are.
        decoder: the config's, as of `annotate`.

    Raises InputError: one of the videos would be overwritten, or the folder cannot be written.
    """

    def __init__(
        self, videos: Mapping[str, Path], folder: str | os.PathLike, keep: bool = False, decoder: str = "auto"
    ):
        self._videos, self._decoder = videos, decoder
        self._failures: list[str] = []
        targets = targets_in(folder, {video_id: source.stem for video_id, source in videos.items()}, videos.values())
        self._targets = {video_id: target for video_id, target in targets.items() if not (keep and target.exists())}

    def annotate_all(self, predictions: Iterable[Prediction], names: Sequence[str]) -> None:
        """Annotates each video of the predictions, which come video by video, one after the other.

        Args:
            names: of the classes.

        Raises InputError: there is no room.
        """
        made = set()
        for video_id, rows in itertools.groupby(predictions, key=lambda row: row.video_id):
            target = self._targets.get(video_id)
            if target is None or target in made:
                continue
            made.add(target)
            try:
                with heartbeat(f"annotating {target}"):
                    damage = annotate(self._videos[video_id], target, list(rows), names, self._decoder)
                logger.info("annotated: %s%s", target, f", up to the damage: {damage}" if damage else "")
            except AnnotateError as error:  # one video's trouble, not the run's
                logger.warning("not annotated: %s", error)
                self._failures.append(str(error))

    def check_failures(self) -> None:
        """Raises InputError if a video could not be annotated."""
        if self._failures:
            raise InputError(
                f"{len(self._failures)} of {len(self._targets)} videos could not be annotated:\n  "
                + "\n  ".join(self._failures)
            )


def targets_in(
    folder: str | os.PathLike, stems: Mapping[str, str], sources: Iterable[str | os.PathLike]
) -> dict[str, Path]:
    """FOLDER/STEM.mp4 for the stem of each id, or STEM_2.mp4 ... where two have the same. Makes the folder.

    Raises InputError: one of the sources would be overwritten, or the folder cannot be written.
    """
    targets: dict[str, Path] = {}
    folder = make_folder(folder)
    for video_id, stem in stems.items():
        target, number = folder / fit_name(stem, ".mp4"), 1
        while target in targets.values():
            number += 1
            target = target.with_name(fit_name(stem, f"_{number}.mp4"))
        targets[video_id] = target
    real_sources = {os.path.realpath(source) for source in sources}
    for target in targets.values():
        if os.path.realpath(target) in real_sources:
            raise InputError(f"{target} is one of the videos; choose another folder for annotated ones")
    return targets


def annotate(
    source: Path, target: Path, predictions: Sequence[Prediction], names: Sequence[str], decoder: str = "auto"
) -> str | None:
    """Writes a video with the three most probable classes in its upper left corner, while a prediction's span lasts.

    Where spans overlap, the one that began last is shown; a prediction without a span is shown all the time. The
    video is H.264 in an mp4, upright, with the source's times; its first sound is copied, if an mp4 takes that, and
    sides are rounded down to even ones. It has its name only when it is whole.

    Args:
        source: a video file. Spans count from its first frame.
        names: of the classes.
        decoder: "opencv" passes over damage, as a reader does; any other ends the video before it.

    Returns what is wrong with the source: the video then ends before the damage. None: nothing was found.

    Raises:
        AnnotateError: the source is no video, not one frame can be decoded, or it cannot be encoded.
        InputError: there is no room, or `target` is the source.
    """
    source, target = Path(source).absolute(), Path(target).absolute()
    try:
        with _open(source) as container:
            if target.exists() and target.samefile(source):
                raise InputError(f"{target} is the video itself; choose another folder for annotated videos")
            with atomic_path(target) as temporary:
                return _write(container, temporary, predictions, names, decoder == "opencv")
    except AnnotateError as error:
        raise AnnotateError(f"{source}: {error}") from error.__cause__
    except (OSError, ValueError, av.FFmpegError) as error:  # whatever a strange video does, the others are encoded
        said = getattr(error, "strerror", None) or error
        if getattr(error, "errno", None) in _NO_ROOM:
            raise InputError(f"cannot write {target}: {said}") from error
        raise AnnotateError(f"{source}: cannot be annotated: {said}") from error


def _open(source: Path) -> Any:
    """The container of a video file. Raises AnnotateError."""
    try:
        return open_container(source)
    except (av.FFmpegError, OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else None
        raise AnnotateError(said or reason_of(error)) from error


def _write(
    container: Any, path: Path, predictions: Sequence[Prediction], names: Sequence[str], lenient: bool
) -> str | None:
    """Writes the annotated video; returns the damage of its source, as `annotate`."""
    try:
        stream = video_stream(container)
    except ValueError as error:
        raise AnnotateError(str(error)) from error
    damage: list[str] = []
    schedule, shown, drawn = _Schedule(predictions), None, None
    frames = _decode(container, stream, damage, lenient)
    first = next(frames, None)
    if first is None:
        raise AnnotateError(f"not one frame can be decoded{f': {damage[0]}' if damage else ''}")
    source, begin_s = Path(container.name), float((stamp_of(first, stream) or 0) * stream.time_base)
    with Transcoder(path, stream, first, _OPTIONS) as writer, Sound(source, writer.container, begin_s) as sound:
        for frame in itertools.chain([first], frames):
            time_s = writer.time_s(frame)
            prediction = schedule.at(time_s)
            if prediction is not shown:
                shown, drawn = prediction, prediction and Overlay.of(prediction, names, *writer.size).blend
            if writer.jumps:
                sound.end("there the clock jumps")
            sound.copy_until(time_s)
            writer.add(frame, drawn)
        sound.copy_until(time_s if damage else math.inf)
        if writer.jumps:
            logger.warning("%s: %s", container.name, describe_jumps(writer.jumps))
        if sound.lost:
            logger.warning("%s: its sound is not in the annotated video, or not all of it: %s", source, sound.lost)
    return damage[0] if damage else None


def _decode(container: Any, stream: Any, damage: list[str], lenient: bool) -> Iterator[av.VideoFrame]:
    """The frames up to the damage, which is noted; if `lenient`, all that come out, and no damage is noted."""
    begun = False
    try:
        for packet in packets_of(container, stream):
            begun |= packet.is_keyframe
            try:
                frames = stream.codec_context.decode(packet if packet.size else None)
            except av.FFmpegError:
                if lenient or not begun:
                    continue  # before the first keyframe nothing can be expected
                raise
            for frame in frames:
                if frame.is_corrupt and not lenient:
                    damage.append("a frame is damaged")
                    return
                yield frame
    except av.FFmpegError as error:
        if not lenient:
            damage.append(error.strerror or str(error))


class _Schedule:
    """Which prediction is shown; asked for times that rise."""

    def __init__(self, predictions: Sequence[Prediction]):
        self._waiting = sorted(predictions, key=lambda each: each.span[0] if each.span else -math.inf)[::-1]
        self._begun: list[Prediction] = []

    def at(self, time_s: float) -> Prediction | None:
        """The one that began last and has not ended; spans are in whole milliseconds."""
        while self._waiting and (not self._waiting[-1].span or self._waiting[-1].span[0] <= time_s + 5e-4):
            self._begun.append(self._waiting.pop())
        self._begun = [each for each in self._begun if not each.span or time_s + 5e-4 < each.span[1]]
        return self._begun[-1] if self._begun else None
