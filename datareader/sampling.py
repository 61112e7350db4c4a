"""Which frames of a video make a clip (TSN's sparse sampling, Wang et al., ECCV 2016, section 3.1)."""

from __future__ import annotations

import numpy as np


def segment_indices(
    num_frames: int, seg_num: int, seglen: int = 1, *, rng: np.random.Generator | None = None, legacy_pkl: bool = False
) -> list[int]:
    """Frame numbers of a clip: `seglen` consecutive frames at one place in each of `seg_num` equal segments.

    A video with fewer frames than segments begins again from its start.

    Args:
        num_frames: of the whole video, at least 1.
        rng: places are drawn from it (training); without it they are the segments' middles.
        legacy_pkl: v1.5's middle for pickled videos, (d - seglen) // 2; its mp4 reader takes (d - 1) // 2.

    Returns: seg_num * seglen numbers in [0, num_frames), segment by segment.
    """
    length = num_frames // seg_num  # frames a segment
    indices = []
    for segment in range(seg_num):
        start = segment * length if length else segment
        if length >= seglen:
            if rng is not None:
                start += int(rng.integers(0, length - seglen, endpoint=True))
            else:
                start += (length - seglen) // 2 if legacy_pkl else (length - 1) // 2
        indices += [(start + step) % num_frames for step in range(seglen)]
    return indices
