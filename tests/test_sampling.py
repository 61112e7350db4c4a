"""Which frames make a clip: v1.5's rule, and what must hold of every clip."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video_zoo.configs.schema import Config, TrainSection, ValidSection
from video_zoo.datareader.sampling import Span, segment_indices, segment_moments
from video_zoo.datareader.views import View

lengths = st.integers(1, 2000)
segments = st.integers(1, 32)
seglens = st.integers(1, 8)
modes = st.sampled_from(["train", "test mp4", "test pkl"])


def draw(mode: str, num_frames: int, seg_num: int, seglen: int, seed: int = 0) -> list[int]:
    rng = np.random.default_rng(seed) if mode == "train" else None
    return segment_indices(num_frames, seg_num, seglen, rng=rng, legacy_pkl=mode == "test pkl")


def contract_indices(num_frames: int, seg_num: int, seglen: int, file_format: str) -> list[int]:
    """The contract's sentences in test mode, one by one: the reference."""
    d = int(num_frames / seg_num)
    out = []
    for i in range(seg_num):
        if d < 1:
            first = i
        elif d < seglen:
            first = i * d
        elif file_format == "mp4":
            first = i * d + (d - 1) // 2
        else:
            first = i * d + (d - seglen) // 2
        for number in range(first, first + seglen):
            while number >= num_frames:
                number -= num_frames
            out.append(number)
    return out


@pytest.mark.contract
@settings(deadline=None)
@given(lengths, segments, seglens, st.sampled_from(["mp4", "pkl"]))
def test_test_mode_is_the_contracts_rule(num_frames, seg_num, seglen, file_format):
    got = draw(f"test {file_format}", num_frames, seg_num, seglen)
    assert got == contract_indices(num_frames, seg_num, seglen, file_format)


@pytest.mark.contract
@pytest.mark.parametrize(
    "num_frames, seg_num, seglen, file_format, expected",
    [
        (80, 8, 1, "mp4", [4, 14, 24, 34, 44, 54, 64, 74]),  # d = 10
        (79, 8, 1, "mp4", [4, 13, 22, 31, 40, 49, 58, 67]),  # d = 9; what is left at the end is never seen
        (8, 8, 1, "mp4", [0, 1, 2, 3, 4, 5, 6, 7]),
        (5, 8, 1, "mp4", [0, 1, 2, 3, 4, 0, 1, 2]),
        (1, 3, 1, "pkl", [0, 0, 0]),
        (20, 2, 5, "mp4", [4, 5, 6, 7, 8, 14, 15, 16, 17, 18]),
        (20, 2, 5, "pkl", [2, 3, 4, 5, 6, 12, 13, 14, 15, 16]),
        (20, 2, 8, "mp4", [4, 5, 6, 7, 8, 9, 10, 11, 14, 15, 16, 17, 18, 19, 0, 1]),  # mp4's places wrap at the end
        (6, 3, 4, "mp4", [0, 1, 2, 3, 2, 3, 4, 5, 4, 5, 0, 1]),  # segments shorter than seglen
    ],
)
def test_worked_examples(num_frames, seg_num, seglen, file_format, expected):
    assert draw(f"test {file_format}", num_frames, seg_num, seglen) == expected


@settings(deadline=None)
@given(lengths, segments, seglens, modes, st.integers(0, 99))
def test_every_clip_has_the_right_size_and_only_frames_that_exist(num_frames, seg_num, seglen, mode, seed):
    indices = draw(mode, num_frames, seg_num, seglen, seed)
    assert len(indices) == seg_num * seglen
    assert all(type(index) is int and 0 <= index < num_frames for index in indices)


@settings(deadline=None)
@given(lengths, segments, seglens, modes, st.integers(0, 99))
def test_the_frames_of_a_segment_are_consecutive(num_frames, seg_num, seglen, mode, seed):
    indices = np.array(draw(mode, num_frames, seg_num, seglen, seed)).reshape(seg_num, seglen)
    assert ((indices[:, 1:] - indices[:, :-1]) % num_frames == 1 % num_frames).all()


@settings(deadline=None)
@given(st.integers(1, 60), segments, seglens, modes, st.integers(0, 99))
def test_each_segments_first_frame_is_inside_the_segment(segment_length, seg_num, seglen, mode, seed):
    num_frames = segment_length * seg_num + seed % seg_num
    firsts = draw(mode, num_frames, seg_num, seglen, seed)[::seglen]
    assert [first // segment_length for first in firsts] == list(range(seg_num))
    assert firsts == sorted(firsts)


@settings(deadline=None)
@given(st.integers(1, 60), segments, seglens, st.sampled_from(["train", "test pkl"]), st.integers(0, 99))
def test_long_segments_hold_all_their_frames(room, seg_num, seglen, mode, seed):
    """In training and for pickles; v1.5's mp4 test rule does not promise it."""
    length = seglen + room
    indices = np.array(draw(mode, length * seg_num, seg_num, seglen, seed)).reshape(seg_num, seglen)
    assert (indices // length == np.arange(seg_num)[:, None]).all()


@settings(deadline=None)
@given(st.integers(1, 31), seglens, modes)
def test_a_video_with_fewer_frames_than_segments_begins_again(num_frames, seglen, mode):
    firsts = draw(mode, num_frames, 32, seglen)[::seglen]
    assert firsts == [segment % num_frames for segment in range(32)]


@pytest.mark.contract
@pytest.mark.parametrize("seg_num, length, seglen", [(1, 5, 1), (3, 10, 1), (2, 10, 4), (4, 6, 6)])
def test_training_draws_cover_the_whole_range_and_nothing_else(seg_num, length, seglen):
    rng = np.random.default_rng(0)
    seen = [set() for _ in range(seg_num)]
    for _ in range(600):
        indices = segment_indices(seg_num * length, seg_num, seglen, rng=rng)
        for segment, first in enumerate(indices[::seglen]):
            seen[segment].add(first - segment * length)
    assert seen == [set(range(length - seglen + 1))] * seg_num


def test_training_draws_every_segment_for_itself():
    offsets = {tuple(np.array(segment_indices(30, 3, rng=np.random.default_rng(seed))) % 10) for seed in range(40)}
    assert len(offsets) > 30


@settings(deadline=None)
@given(lengths, segments, seglens, st.integers(0, 2**63))
def test_training_draws_are_reproducible(num_frames, seg_num, seglen, seed):
    once, again = (draw("train", num_frames, seg_num, seglen, seed) for _ in range(2))
    assert once == again


def test_other_seeds_draw_other_places():
    assert len({tuple(draw("train", 800, 8, 1, seed)) for seed in range(20)}) == 20


# --- frames of a segment that lie apart

strides = st.integers(2, 6)


@settings(deadline=None)
@given(lengths, segments, seglens, st.integers(1, 6), st.booleans(), st.booleans())
def test_a_stride_changes_nothing_but_the_distance(num_frames, seg_num, seglen, stride, drawn, legacy_pkl):
    """Right size, frames that exist, a stride apart; and a stride of 1 is no stride."""
    draws = (np.random.default_rng(0) if drawn else None for _ in range(2))
    indices = segment_indices(num_frames, seg_num, seglen, frame_stride=stride, rng=next(draws), legacy_pkl=legacy_pkl)
    assert len(indices) == seg_num * seglen and all(type(index) is int and 0 <= index < num_frames for index in indices)
    rows = np.array(indices).reshape(seg_num, seglen)
    assert ((rows[:, 1:] - rows[:, :-1]) % num_frames == stride % num_frames).all()
    if stride == 1 or seglen == 1:
        assert indices == segment_indices(num_frames, seg_num, seglen, rng=next(draws), legacy_pkl=legacy_pkl)


@settings(deadline=None)
@given(st.integers(0, 60), segments, st.integers(2, 8), strides, st.booleans())
def test_with_a_stride_the_covered_frames_are_in_the_middle_of_the_segment(room, seg_num, seglen, stride, legacy_pkl):
    length = (seglen - 1) * stride + 1 + room
    indices = segment_indices(length * seg_num, seg_num, seglen, frame_stride=stride, legacy_pkl=legacy_pkl)
    rows = np.array(indices).reshape(seg_num, seglen) - length * np.arange(seg_num)[:, None]
    before, after = rows[:, 0], length - 1 - rows[:, -1]
    assert (before == room // 2).all() and ((after - before == 0) | (after - before == 1)).all()


@pytest.mark.parametrize(
    "num_frames, seg_num, seglen, stride, expected",
    [
        (20, 1, 4, 2, [6, 8, 10, 12]),  # 7 of 20 frames are covered: 6 before, 7 behind
        (20, 2, 3, 4, [0, 4, 8, 10, 14, 18]),
        (9, 1, 5, 3, [0, 3, 6, 0, 3]),  # too short: it begins again
        (300, 1, 32, 2, list(range(118, 182, 2))),
    ],
)
def test_worked_examples_of_strides(num_frames, seg_num, seglen, stride, expected):
    assert segment_indices(num_frames, seg_num, seglen, frame_stride=stride) == expected


def test_training_draws_cover_the_whole_range_with_a_stride_too():
    rng = np.random.default_rng(0)
    firsts = {segment_indices(20, 1, 4, frame_stride=3, rng=rng)[0] for _ in range(400)}
    assert firsts == set(range(11))


def test_a_segment_stride_takes_a_stretch_of_the_video():
    assert segment_indices(60, 8, segment_stride=3) == [18 + 3 * each + 1 for each in range(8)]
    drawn = [segment_indices(26, 8, segment_stride=3, rng=np.random.default_rng(seed)) for seed in range(200)]
    assert {numbers[0] for numbers in drawn} == set(range(5))
    assert {numbers[-1] for numbers in drawn} == set(range(21, 26))
    assert all(1 <= after - before <= 5 for numbers in drawn for before, after in zip(numbers, numbers[1:]))


@pytest.mark.parametrize("num_frames", [5, 8, 24, 31])
def test_a_video_that_is_shorter_than_its_segment_strides_is_taken_whole(num_frames):
    assert segment_indices(num_frames, 8, segment_stride=4) == segment_indices(num_frames, 8)


def test_training_and_validation_have_segment_strides_of_their_own():
    config = Config(TRAIN=TrainSection(segment_stride=3), VALID=ValidSection(segment_stride=2))
    strides = {
        mode: View.of(config, mode, "center_crop").segment_stride for mode in ("train", "valid", "test", "infer")
    }
    assert strides == {"train": 3, "valid": 2, "test": None, "infer": None}
    assert View.of(config, "valid", "center_crop").indices(100)[:3] == [42, 44, 46]


def test_moments_are_the_middles_of_equal_parts():
    assert segment_moments(Span(2.0, 4.0), 4) == [2.25, 2.75, 3.25, 3.75]
