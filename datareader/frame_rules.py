"""Which frames the public toolkits take of a video in a test: a rule for each of their names.

All frame numbers count from 0. The order of operations is theirs: `trunc(t / 2 + t * x)` in float64 is not the floor of
the exact value. Where they draw at random in a test, the rule here does not, and `note` says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Callable, NamedTuple, Optional

import numpy as np

from video_zoo.datareader.sampling import segment_indices
from video_zoo.utils.registry import Registry

V15 = "v15"
SEGMENTS, STRIDED = "segments", "strided"  # how a rule fills a clip
_DENSE_WINDOW, _DENSE_CLIPS = 64, 10  # frames that a dense clip spans, and its clips (Wang et al., CVPR 2018)
_FPS = 30  # of the videos, and the rate that strides are meant at

Clips = list[list[int]]  # the frame numbers of each clip


class ClipShape(NamedTuple):
    """What a rule is asked for: `clips` clips of seg_num * seglen frames, `stride` apart (of rules that have it)."""

    seg_num: int
    seglen: int = 1
    stride: int = 1
    clips: int = 1

    @property
    def length(self) -> int:
        """Frames of a clip."""
        return self.seg_num * self.seglen


Rule = Callable[[int, ClipShape], Clips]  # frames of the video, what is asked for -> the frames of each clip


@dataclass(frozen=True)
class Sampling:
    """A rule and what it fits.

    Args:
        rule: gives numbers below 0 or beyond the video where the public code does so.
        kind: SEGMENTS: one place in each of `seg_num` segments; STRIDED: frames that follow each other.
        clips: of each video; None: as many as are asked for; 0: the video's length decides.
        fewest: clips that it can be asked for.
        seglens: frames of a segment that it can fill, of kind SEGMENTS.
        refused: why it is not to be used.
        note: what a user has to know.
    """

    rule: Rule
    kind: str
    clips: Optional[int] = None
    fewest: int = 1
    seglens: tuple[int, ...] = (1,)
    refused: str = ""
    note: str = ""


# --- one place in each segment


def _middles(num_frames: int, segments: int) -> list[int]:
    tick = num_frames / segments
    return [int(tick / 2 + tick * number) for number in range(segments)]


def _starts(num_frames: int, segments: int) -> list[int]:
    tick = num_frames / segments
    return [int(tick * number) for number in range(segments)]


def middles(num_frames: int, shape: ClipShape) -> Clips:
    """The middles of the segments (TSM's test)."""
    return [_middles(num_frames, shape.seg_num)]


def middles_and_starts(num_frames: int, shape: ClipShape) -> Clips:
    """Two clips: the middles of the segments, then their starts (TSM's twice_sample)."""
    return [_middles(num_frames, shape.seg_num), _starts(num_frames, shape.seg_num)]


def middles_or_first(num_frames: int, shape: ClipShape) -> Clips:
    """The middles; the first frame again and again where there are not more frames than segments."""
    return middles(num_frames, shape) if num_frames > shape.seg_num else [[0] * shape.seg_num]


def middles_of_starts(num_frames: int, shape: ClipShape) -> Clips:
    """Places for five frames in a row (TSM's optical flow); below 0 in a video of fewer. With MODEL.seglen = 5 each is
    followed by the four behind it, with the last frame in place of those beyond the end."""
    starts = _middles(num_frames - 4, shape.seg_num)
    return [[min(start + step, max(num_frames - 1, start)) for start in starts for step in range(shape.seglen)]]


def dense(num_frames: int, shape: ClipShape) -> Clips:
    """Ten clips, evenly spaced, each 64 frames long however many are taken of it; a short video is repeated."""
    room = max(1, num_frames - _DENSE_WINDOW + 1) - 1
    stride = _DENSE_WINDOW // shape.seg_num
    starts = [number * room // (_DENSE_CLIPS - 1) for number in range(_DENSE_CLIPS)]
    return [[(start + x * stride) % num_frames for x in range(shape.seg_num)] for start in starts]


def even_steps(num_frames: int, shape: ClipShape, clips: int) -> Clips:
    """Steps of (N - 1) / S from the place of each clip on (MMAction2's UniformSample)."""
    step = (num_frames - 1) / shape.seg_num
    return [
        [round(step * x) + int(step * (clip + 1) / (clips + 1)) for x in range(shape.seg_num)] for clip in range(clips)
    ]


def middles_of_rounded(num_frames: int, shape: ClipShape) -> Clips:
    """The middle, in whole frames, between the rounded borders of each segment (SlowFast on Something-Something)."""
    step = (num_frames - 1) / shape.seg_num
    borders = [round(step * x) for x in range(shape.seg_num + 1)]
    return [[(low + high) // 2 for low, high in zip(borders, borders[1:])]]


def whole_segments(num_frames: int, shape: ClipShape, wrap: bool = True) -> Clips:
    """The middles of segments of N // S whole frames, which leave the tail of a video out (PaddleVideo 2.x)."""
    if not wrap and num_frames < shape.seg_num:
        return [list(range(shape.seg_num))]
    return [segment_indices(num_frames, shape.seg_num, shape.seglen)]


def first_to_last(num_frames: int, shape: ClipShape) -> Clips:
    """Evenly from the first to the last frame, in float64."""
    return [np.linspace(0, num_frames - 1, shape.seg_num).astype(int).tolist()]


def subsample(num_frames: int, shape: ClipShape) -> Clips:
    """Evenly from the first to the last frame, in float32."""
    return [_subsample(num_frames, shape.length)]


def every_second_of_both(num_frames: int, shape: ClipShape) -> Clips:
    """The middles and the starts of the segments, sorted together; a clip has every second one."""
    pool = sorted(_middles(num_frames, shape.seg_num) + _starts(num_frames, shape.seg_num))
    return [pool[::2], pool[1::2]]


# --- frames that follow each other


def from_first_to_last_start(
    num_frames: int, shape: ClipShape, repeat_last: bool = False, every_start_twice: bool = False
) -> Clips:
    """Clips from the start to the end of the video (MMAction2 1.x). Past the end, the video begins again.

    Args:
        repeat_last: the last frame of the clip that is there is repeated instead.
        every_start_twice: twice as many clips, half of which begin behind the last (its twice_sample).
    """
    length, stride, clips = shape.length, shape.stride, shape.clips
    room = max(num_frames - ((length - 1) * stride + 1), 0)
    count = clips * 2 if every_start_twice else clips
    starts = [round(number * (room / (clips - 1))) for number in range(count)] if clips > 1 else [room // 2]
    found = [[start + x * stride for x in range(length)] for start in starts]
    if repeat_last:
        return [_last_repeated(clip, num_frames) for clip in found]
    return [[number % num_frames for number in clip] for clip in found]


def _last_repeated(clip: list[int], num_frames: int) -> list[int]:
    last = max((number for number in clip if number < num_frames), default=num_frames - 1)
    return [min(number, last) for number in clip]


def middles_of_room(num_frames: int, shape: ClipShape) -> Clips:
    """Clips whose starts are the middles of equal parts of the room (MMAction2 0.x, PaddleVideo); a video begins
    again past its end."""
    length, clips = shape.length * shape.stride, shape.clips
    part = (num_frames - length + 1) / clips
    starts = [int(number * part + part / 2) if num_frames >= length else 0 for number in range(clips)]
    return [[(start + x * shape.stride) % num_frames for x in range(shape.length)] for start in starts]


def stretched(num_frames: int, shape: ClipShape) -> Clips:
    """Clips from the start on in whole steps, the last frame of each as far as T * tau reaches (MMAction2 1.x with a
    target rate); a video begins again past its end."""
    length, clips = shape.length * shape.stride, shape.clips
    room = max(num_frames - length, 0)
    step = room // (clips - 1) if clips > 1 else 0
    first = 0 if clips > 1 else room // 2
    places = np.linspace(0, length - 1, shape.length).astype(int)
    return [((first + number * step + places) % num_frames).tolist() for number in range(clips)]


def slowfast(num_frames: int, shape: ClipShape, fps: float = _FPS, offset: bool = False) -> Clips:
    """Clips of T * tau frames at 30 frames a second, float32; the last one does not reach the end of the video, but
    with `offset`. Frames past the end are the last one (SlowFast)."""
    length = max(1.0, shape.stride * shape.length / _FPS * fps)
    room, clips = max(num_frames - length, 0), shape.clips
    starts = [room * number / clips for number in range(clips)]
    if offset:
        step = math.floor(room / (clips - 1)) if clips > 1 else 0
        starts = [number * step for number in range(clips)] if clips > 1 else [math.floor(room / 2)]
    return [
        np.clip(linspace32(start, start + length - 1, shape.length), 0, num_frames - 1).astype(int).tolist()
        for start in starts
    ]


def slowfast64(num_frames: int, shape: ClipShape) -> Clips:
    """As `slowfast`, in float64, with a frame behind the last one in short videos (PaddleVideo 2.x)."""
    length, clips = shape.length * shape.stride, shape.clips
    starts = [max(num_frames - length, 0) * number / clips for number in range(clips)]
    return [
        np.clip(np.linspace(start, start + length - 1, shape.length), 0, num_frames).astype(int).tolist()
        for start in starts
    ]


def strided_pool(num_frames: int, shape: ClipShape) -> Clips:
    """Every tau-th frame from the first one on, and clips out of these (VideoMAE); the last is repeated."""
    last = (num_frames - 1) // shape.stride  # in strides, as all numbers here
    step = max((last + 1 - shape.length) / (shape.clips - 1), 0)
    starts = [int(clip * step) for clip in range(shape.clips)]
    return [[shape.stride * min(start + x, last) for x in range(shape.length)] for start in starts]


def parts(num_frames: int, shape: ClipShape) -> Clips:
    """A clip at the start of each of equal parts of the video; of a shorter one, clips that overlap (V-JEPA)."""
    length, clips = shape.length * shape.stride, shape.clips
    part = num_frames // clips
    if part > length:
        places = np.clip(np.linspace(0, length, shape.length), 0, length - 1)
        step = part
    else:
        last = min(length, num_frames) - 1
        places = np.linspace(0, last, last // shape.stride)
        places = np.concatenate([places, np.full(shape.length - len(places), float(last))])
        places = np.minimum(np.maximum(places, 0), last - 1)
        step = (num_frames - length) // (clips - 1) if num_frames > length else 0
    return [(places.astype(int) + number * step).tolist() for number in range(clips)]


def constant_clips(num_frames: int, shape: ClipShape) -> Clips:
    """Clips evenly from the start to the end of the video, in seconds (PyTorchVideo)."""
    seconds = shape.length * shape.stride / _FPS
    step = Fraction(max(num_frames / _FPS - seconds, 0)) / max(shape.clips - 1, 1)
    return [_from(step * number, Fraction(seconds), num_frames, shape) for number in range(shape.clips)]


def back_to_back(num_frames: int, shape: ClipShape, exact: bool = False, backpad: bool = False) -> Clips:
    """Clips that follow each other from the start on (PyTorchVideo); what is left at the end is left out, or with
    `backpad` in a last clip that ends there. `exact`: the length of a clip in seconds is not rounded to float64."""
    seconds = Fraction(shape.length * shape.stride, _FPS)
    seconds = seconds if exact else Fraction(float(seconds))
    end, starts = Fraction(num_frames / _FPS), [Fraction(0)]
    while starts[-1] + 2 * seconds <= end:
        starts.append(starts[-1] + seconds)
    if backpad and starts[-1] + seconds < end:
        starts.append(end - seconds)
    return [_from(start, seconds, num_frames, shape) for start in starts]


def windows_of_half(num_frames: int, shape: ClipShape, before: int = 0) -> Clips:
    """Clips of every second frame, out of all that begin one frame later each (torchvision at 15 of 30 frames a
    second); none of a video that is too short.

    Args:
        before: such clips of the videos before this one: the public code numbers them through a data set, in float32.
    """
    windows = count_half_windows(num_frames, shape.length)
    if windows < 1:
        return []
    chosen = np.floor(linspace32(before, before + windows - 1, shape.clips)).astype(int) - before
    return [list(range(2 * first, 2 * (first + shape.length), 2)) for first in chosen.tolist()]


def count_half_windows(num_frames: int, length: int) -> int:
    """How many clips `windows_of_half` has of a video to choose from; below 1: none."""
    return (num_frames + 1) // 2 - length + 1


# --- arithmetic


def linspace32(start: float, end: float, count: int) -> np.ndarray:
    """float32 (count,) from start to end as PyTorch has it on processors with fused multiply-add, on any: each value is
    rounded once."""
    first, last = np.float32(start), np.float32(end)
    step = float((last - first) / np.float32(max(count - 1, 1)))  # a float32, whose products are exact in float64
    half = count // 2
    values = [float(first) + step * x for x in range(half)]
    values += [float(last) - step * (count - 1 - x) for x in range(half, count)]
    return np.array(values if count > 1 else [first], np.float64).astype(np.float32)


def _subsample(num_frames: int, count: int) -> list[int]:
    return np.clip(linspace32(0, num_frames - 1, count), 0, num_frames - 1).astype(int).tolist()


def _from(start_s: Fraction, seconds: Fraction, num_frames: int, shape: ClipShape) -> list[int]:
    """Evenly out of the frames that begin in a span of time."""
    first, end = (math.ceil(_FPS * float(moment)) for moment in (start_s, start_s + seconds))
    return [first + number for number in _subsample(min(end, num_frames) - first, shape.length)]


def _rate(fps: int = _FPS) -> str:
    return f"it takes every video to have {fps} frames a second; the public code asks each video"


_NUMBERED = (
    "the public code numbers the clips of all videos together, in float32, which shifts them beyond 2^24; here those of"
    " each video are numbered by themselves"
)
SAMPLINGS: Registry[Sampling] = Registry("sampling")
for _names, _entry in {
    "tsm_test mmaction2_2d mmaction2_2d_start1": Sampling(middles, SEGMENTS, 1),
    "tsm_test_twice mmaction2_2d_twice": Sampling(middles_and_starts, SEGMENTS, 2),
    "tsm_test_dense10": Sampling(dense, SEGMENTS, 10),
    "tsm_val paddle_select_left": Sampling(middles_or_first, SEGMENTS, 1),
    "tsm_test_flow5": Sampling(middles_of_starts, SEGMENTS, 1, seglens=(1, 5)),
    "mmaction2_uniform1": Sampling(partial(even_steps, clips=1), SEGMENTS, 1),
    "mmaction2_uniform2": Sampling(partial(even_steps, clips=2), SEGMENTS, 2),
    "paddle_sampler_video paddle_samplerpkl_len1": Sampling(whole_segments, SEGMENTS, 1),
    "paddle_sampler_frame": Sampling(partial(whole_segments, wrap=False), SEGMENTS, 1),
    "paddle_samplerpkl_len3": Sampling(whole_segments, SEGMENTS, 1, seglens=(3,)),
    "paddle_linspace": Sampling(
        first_to_last, SEGMENTS, 1, note="in PaddleVideo's TimeSformer it is applied to what its decoder cut out before"
    ),
    "slowfast_ssv2": Sampling(middles_of_rounded, SEGMENTS, 1),
    "videomae_ssv2_2clip": Sampling(every_second_of_both, SEGMENTS, 2),
    "pytorchvideo_uniform_subsample": Sampling(subsample, SEGMENTS, 1),
    "mmaction2_3d": Sampling(from_first_to_last_start, STRIDED),
    "mmaction2_3d_repeat_last": Sampling(partial(from_first_to_last_start, repeat_last=True), STRIDED),
    "mmaction2_3d_legacy0x paddle_frame_interval": Sampling(middles_of_room, STRIDED),
    "mmaction2_3d_targetfps30": Sampling(stretched, STRIDED, note=_rate()),
    "mmaction2_3d_twice": Sampling(
        partial(from_first_to_last_start, every_start_twice=True),
        STRIDED,
        refused="half of its clips begin behind the last start, run past the end of the video and wrap around to places"
        " that mean nothing; mmaction2_3d with as many clips covers the video",
    ),
    "slowfast_fps30": Sampling(slowfast, STRIDED, note=_rate()),
    "slowfast_fps25": Sampling(partial(slowfast, fps=25), STRIDED, note=_rate(25)),
    "slowfast_offset_fps30": Sampling(partial(slowfast, offset=True), STRIDED, note=_rate()),
    "paddle_slowfast_fps30": Sampling(slowfast64, STRIDED, note=_rate()),
    "pytorchvideo_constant_fps30": Sampling(constant_clips, STRIDED, note=_rate()),
    "videomae_kinetics": Sampling(strided_pool, STRIDED, fewest=2),
    "vjepa_norandom": Sampling(
        parts,
        STRIDED,
        fewest=2,
        note="in long videos the public code draws the place of a clip in its part at random; here it is the start",
    ),
    "torchvision_15of30": Sampling(windows_of_half, STRIDED, note=f"{_rate()}; {_NUMBERED}"),
    "pytorchvideo_uniform_fps30": Sampling(back_to_back, STRIDED, 0),
    "pytorchvideo_uniform_fps30_fraction": Sampling(partial(back_to_back, exact=True), STRIDED, 0),
    "pytorchvideo_uniform_backpad_fps30": Sampling(partial(back_to_back, backpad=True), STRIDED, 0),
}.items():
    for _name in _names.split():
        SAMPLINGS.add(_name, _entry)
