"""Views: how a video, or a span of it, becomes clips."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from video_zoo.configs.schema import Config, TrainSection, ValidSection
from video_zoo.datareader.decode import VideoError
from video_zoo.datareader.frame_rules import SAMPLINGS, V15, Clips, ClipShape
from video_zoo.datareader.protocols import protocol_of
from video_zoo.datareader.sampling import segment_indices
from video_zoo.datareader.transforms import TRANSFORMS, EvalTransform, Size, TrainTransform


@dataclass(frozen=True)
class View:
    """Which frames of a span are taken, and what is done to each of them.

    Args:
        seg_num, seglen, frame_stride, legacy_pkl: see `segment_indices`.
        transform: TrainTransform draws at random, and so are the frames drawn then; EvalTransform does not.
        segment_stride: see `segment_indices`.
        sampling: "v15", which is `segment_indices`, or the name of a rule of frame_rules.py.
        clips, clip: how many clips the rule is asked for, and which of them this is.
    """

    seg_num: int
    seglen: int
    frame_stride: int
    transform: TrainTransform | EvalTransform
    legacy_pkl: bool = False
    segment_stride: int | None = None
    sampling: str = V15
    clips: int = 1
    clip: int = 0

    @classmethod
    def of(cls, settings: Config, mode: str, transform: str) -> View:
        """The view that a config describes for a mode. Raises InputError: no transform has that name."""
        model = settings.MODEL
        section, shape = settings.reader(mode), (settings.seg_num(mode), model.seglen, model.frame_stride)
        stride = section.segment_stride if isinstance(section, (TrainSection, ValidSection)) else None
        return cls(*shape, TRANSFORMS.get(transform)(section), model.format == "pkl", stride)

    @property
    def is_random(self) -> bool:
        """Whether clips are drawn at random."""
        return isinstance(self.transform, TrainTransform)

    def indices(self, num_frames: int, rng: np.random.Generator | None = None) -> list[int]:
        """The numbers, in a span of so many frames, of a clip's seg_num * seglen frames.

        Args:
            rng: of a random view; None takes the segments' middles.

        Raises VideoError: the sampling has no such clip, or frames that are not there.
        """
        if self.sampling != V15:
            shape = ClipShape(self.seg_num, self.seglen, self.frame_stride, self.clips)
            return list(_clips_of(self.sampling, num_frames, shape)[self.clip])
        return segment_indices(
            num_frames,
            self.seg_num,
            self.seglen,
            frame_stride=self.frame_stride,
            segment_stride=self.segment_stride,
            rng=rng,
            legacy_pkl=self.legacy_pkl,
        )

    def transformed(self, frame: np.ndarray) -> np.ndarray:
        """uint8 RGB (H, W, 3) -> uint8 (3, target_size, target_size), of a view that is not random."""
        return self.transform.draw(Size(frame.shape[1], frame.shape[0]))(frame)


@lru_cache(maxsize=16)
def _clips_of(sampling: str, num_frames: int, shape: ClipShape) -> Clips:
    """The clips of a rule. Raises VideoError: fewer or more than asked for, or frames that are not there."""
    clips = SAMPLINGS.get(sampling).rule(num_frames, shape)
    if len(clips) != shape.clips:
        raise VideoError(
            f"it has {num_frames} frames, of which {sampling} takes {len(clips)} clips of {shape.length}, and"
            f" {shape.clips} are needed"
        )
    beyond = next((number for clip in clips for number in clip if not 0 <= number < num_frames), None)
    if beyond is not None:
        raise VideoError(f"it has {num_frames} frames, too few for {sampling}, which asks for frame number {beyond}")
    return clips


def views_of(settings: Config, mode: str, transform: str, num_frames: int | None = None) -> tuple[View, ...]:
    """The views of a video that a config describes for a mode: for "test" those of its protocol, in the protocol's
    order, else one.

    Args:
        num_frames: of the only video that they are for; see `protocol_of`.

    Raises InputError: no transform has that name, or the protocol does not fit.
    """
    view = View.of(settings, mode, transform)
    if mode != "test":
        return (view,)
    protocol, section, model = protocol_of(settings, num_frames), settings.TEST, settings.MODEL
    sizes = (section.short_size, section.target_size, section.keep_aspect, section.fast_crop)
    return tuple(
        View(
            view.seg_num,
            model.seglen,
            protocol.stride,
            EvalTransform(*sizes, protocol.resize, protocol.crops, crop),
            view.legacy_pkl,
            sampling=protocol.sampling,
            clips=protocol.clips,
            clip=clip,
        )
        for clip, crop in protocol.order()
    )
