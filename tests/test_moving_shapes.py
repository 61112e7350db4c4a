"""The quick start's data set: only the order of the frames tells the classes apart."""

from __future__ import annotations

import numpy as np
import pytest

from video_zoo.dataset.moving_shapes.make_moving_shapes import draw_clip, write_mp4


@pytest.mark.parametrize(("one", "other"), [("left", "right"), ("up", "down")])
def test_opposite_directions_have_the_same_frames(one, other):
    """Eight steps of 4 px lead once round 32 px; the frames are the same, in the opposite order."""
    first, second = (draw_clip(name, 32, 8, 4, np.random.default_rng(1)) for name in (one, other))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1:], second[:0:-1])
    assert not np.array_equal(first, second)


def test_a_clip_is_encoded_alike_each_time(tmp_path):
    frames = draw_clip("left", 64, 24, 3, np.random.default_rng(0))
    for name in ("a.mp4", "b.mp4"):
        write_mp4(tmp_path / name, frames)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
