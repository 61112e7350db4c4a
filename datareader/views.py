"""Views: how a video, or a span of it, becomes clips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from video_zoo.configs.schema import Config
from video_zoo.datareader.sampling import segment_indices
from video_zoo.datareader.transforms import TRANSFORMS, EvalTransform, Size, TrainTransform


@dataclass(frozen=True)
class View:
    """Which frames of a span are taken, and what is done to each of them.

    Args:
        seg_num, seglen, frame_stride, legacy_pkl: see `segment_indices`.
        transform: TrainTransform draws at random, and so are the frames drawn then; EvalTransform does not.
    """

    seg_num: int
    seglen: int
    frame_stride: int
    transform: TrainTransform | EvalTransform
    legacy_pkl: bool = False

    @classmethod
    def of(cls, settings: Config, mode: str, transform: str) -> View:
        """The view that a config describes for a mode. Raises InputError: no transform has that name."""
        model = settings.MODEL
        draw = TRANSFORMS.get(transform)(settings.reader(mode))
        return cls(settings.seg_num(mode), model.seglen, model.frame_stride, draw, model.format == "pkl")

    @property
    def is_random(self) -> bool:
        """Whether clips are drawn at random."""
        return isinstance(self.transform, TrainTransform)

    def indices(self, num_frames: int, rng: np.random.Generator | None = None) -> list[int]:
        """The numbers, in a span of so many frames, of a clip's seg_num * seglen frames.

        Args:
            rng: of a random view; None takes the segments' middles.
        """
        return segment_indices(
            num_frames,
            self.seg_num,
            self.seglen,
            frame_stride=self.frame_stride,
            rng=rng,
            legacy_pkl=self.legacy_pkl,
        )

    def transformed(self, frame: np.ndarray) -> np.ndarray:
        """uint8 RGB (H, W, 3) -> uint8 (3, target_size, target_size), of a view that is not random."""
        return self.transform.draw(Size(frame.shape[1], frame.shape[0]))(frame)


def views_of(settings: Config, mode: str, transform: str) -> tuple[View, ...]:
    """The views of a video that a config describes for a mode: one. Raises InputError: no transform has that name."""
    return (View.of(settings, mode, transform),)
