"""Scaling, cropping and mirroring: v1.5's sizes and places, drawn once for all frames of a clip."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import noise
from PIL import Image

from datareader.transforms import (
    EvalTransform,
    TrainTransform,
    center_crop,
    multi_scale_crop,
    random_crop,
    scale,
    to_array,
)


def coordinates(width: int, height: int) -> np.ndarray:
    """A frame whose red is x and green is y: a crop shows where it is from."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[..., 0], frame[..., 1] = np.arange(width), np.arange(height)[:, None]
    return frame


def images(width: int, height: int) -> list[Image.Image]:
    return [Image.fromarray(coordinates(width, height))]


def corner(image: Image.Image) -> tuple[int, int]:
    """Where a crop of `coordinates` was taken: x and y of its first pixel."""
    return image.getpixel((0, 0))[:2]


# --- scale


@pytest.mark.contract
@pytest.mark.parametrize(
    "size, short_size, expected",
    [
        ((340, 256), 256, (340, 256)),  # already: as it is
        ((455, 256), 256, (455, 256)),  # also when it is not 4:3
        ((256, 500), 256, (256, 500)),
        ((1280, 720), 256, (341, 256)),  # 16:9 squeezed to 4:3
        ((320, 240), 256, (341, 256)),
        ((720, 1280), 256, (256, 341)),  # portrait
        ((240, 320), 256, (256, 341)),
        ((300, 300), 256, (341, 256)),  # a square counts as landscape
        ((100, 90), 64, (85, 64)),
    ],
)
def test_scale_squeezes_to_4_by_3(size, short_size, expected):
    frame = np.zeros((size[1], size[0], 3), np.uint8)
    assert scale([frame], short_size)[0].size == expected


@pytest.mark.parametrize(
    "size, short_size, expected",
    [((1280, 720), 256, (455, 256)), ((720, 1280), 256, (256, 455)), ((300, 300), 256, (256, 256))],
)
def test_scale_may_keep_the_aspect(size, short_size, expected):
    frame = np.zeros((size[1], size[0], 3), np.uint8)
    assert scale([frame], short_size, keep_aspect=True)[0].size == expected


sizes = st.integers(8, 90)


@settings(deadline=None)
@given(sizes, sizes, st.integers(8, 60), st.booleans())
def test_scales_shorter_side_is_short_size_and_the_longer_never_shorter(width, height, short_size, keep_aspect):
    (image,) = scale([np.zeros((height, width, 3), np.uint8)], short_size, keep_aspect)
    assert min(image.size) == short_size
    if width != height:
        assert (image.width <= image.height) if width < height else (image.width >= image.height)
    if min(width, height) == short_size:
        assert image.size == (width, height)
    elif keep_aspect:
        assert abs(max(image.size) - short_size * max(width, height) / min(width, height)) <= 0.5
    else:
        assert max(image.size) == short_size * 4 // 3


def test_scale_is_pillows_bilinear():
    frame = noise(1, 30, 50)[0]
    expected = Image.fromarray(frame).resize((21, 16), Image.BILINEAR)
    assert np.array_equal(np.asarray(scale([frame], 16)[0]), np.asarray(expected))


# --- crops


@pytest.mark.contract
@settings(deadline=None)
@given(sizes, sizes, st.integers(1, 90))
def test_center_crop_rounds_as_v15(width, height, size):
    size = min(size, width, height)
    (image,) = center_crop(images(width, height), size)
    assert image.size == (size, size)
    assert corner(image) == (int(round((width - size) / 2.0)), int(round((height - size) / 2.0)))


@pytest.mark.contract
@pytest.mark.parametrize("room, expected", [(0, 0), (1, 0), (2, 1), (3, 2), (5, 2), (7, 4), (9, 4)])
def test_a_half_is_rounded_to_the_even_place(room, expected):
    assert corner(center_crop(images(20 + room, 20), 20)[0]) == (expected, 0)
    assert corner(center_crop(images(20, 20 + room), 20)[0]) == (0, expected)


def fixed_crops(width: int, height: int, size: int) -> dict[tuple[int, int], set[tuple[int, int, int, int]]]:
    """The contract's multi-scale crops, written out: (crop width, height) -> boxes in whole pixels."""
    shorter = min(width, height)
    steps = []
    for factor in (1, 0.875, 0.75, 0.66):
        side = int(shorter * factor)
        steps.append(size if size - 3 < side < size + 3 else side)
    places = {"corners": [(0, 0), (1, 0), (0, 1), (1, 1)], "centre": [(0.5, 0.5)]}
    places["edge middles"] = [(0, 0.5), (1, 0.5), (0.5, 0), (0.5, 1)]
    places["quarters"] = [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)]
    assert sum(map(len, places.values())) == 13
    crops: dict[tuple[int, int], set[tuple[int, int, int, int]]] = {}
    for i in range(4):
        for j in range(max(i - 1, 0), min(i + 2, 4)):
            w, h = steps[i], steps[j]
            for across, down in sum(places.values(), []):
                left, top = across * (width - w), down * (height - h)
                box = tuple(int(round(edge)) for edge in (left, top, left + w, top + h))
                crops.setdefault((w, h), set()).add(box)
    return crops


class Recorder(Image.Image):
    """An image that notes the boxes it is cropped to."""

    def __init__(self, image: Image.Image):
        super().__init__()
        self.image, self.boxes = image, []

    @property
    def size(self):
        return self.image.size

    def crop(self, box):
        self.boxes.append(tuple(int(round(edge)) for edge in box))
        return self.image.crop(box)


@pytest.mark.contract
@pytest.mark.parametrize("width, height, size", [(85, 64, 64), (40, 30, 28), (30, 40, 30), (32, 32, 24)])
def test_multi_scale_crops_are_the_contracts_and_all_of_them(width, height, size):
    expected = set().union(*fixed_crops(width, height, size).values())
    recorder, rng = Recorder(images(width, height)[0]), np.random.default_rng(0)
    for _ in range(2500):
        (image,) = multi_scale_crop([recorder], size, rng)
        assert image.size == (size, size)
    assert set(recorder.boxes) == expected


@pytest.mark.contract
def test_the_sizes_of_multi_scale_crops_for_64_px():
    """Worked by hand: 64, 56, 48 and 42 px; width and height at most one step apart."""
    pairs = {(64, 64), (64, 56), (56, 64), (56, 56), (56, 48), (48, 56), (48, 48), (48, 42), (42, 48), (42, 42)}
    assert set(fixed_crops(85, 64, 64)) == pairs


@pytest.mark.contract
@pytest.mark.parametrize("size, second", [(53, 56), (54, 54), (55, 55), (58, 58), (59, 56)])
def test_a_side_nearer_than_3_px_to_short_size_becomes_it(size, second):
    recorder, rng = Recorder(images(64, 64)[0]), np.random.default_rng(0)
    for _ in range(300):
        multi_scale_crop([recorder], size, rng)
    assert {right - left for left, _, right, _ in recorder.boxes if left == 0} == {64, second, 48, 42}


@settings(max_examples=40, deadline=None)
@given(st.integers(16, 90), st.integers(16, 90), st.integers(0, 999))
def test_a_multi_scale_crop_is_one_of_the_contracts_resized(width, height, seed):
    """On pixels, and without looking inside."""
    size = min(width, height)
    frame = Image.fromarray(noise(1, height, width)[0])
    (got,) = multi_scale_crop([frame], size, np.random.default_rng(seed))
    boxes = set().union(*fixed_crops(width, height, size).values())
    candidates = (frame.crop(box).resize((size, size), Image.BILINEAR) for box in boxes)
    assert any(np.array_equal(np.asarray(got), np.asarray(candidate)) for candidate in candidates)


@pytest.mark.contract
@pytest.mark.parametrize("width, height, size", [(20, 16, 12), (16, 20, 12), (16, 16, 16), (17, 16, 16)])
def test_random_crops_cover_every_place_and_nothing_else(width, height, size):
    rng, frames = np.random.default_rng(0), images(width, height)
    seen = set()
    for _ in range(1000):
        (image,) = random_crop(frames, size, rng)
        assert image.size == (size, size)
        left, top = corner(image)
        assert image.getpixel((size - 1, size - 1))[:2] == (left + size - 1, top + size - 1)
        seen.add((left, top))
    assert seen == {(x, y) for x in range(width - size + 1) for y in range(height - size + 1)}


# --- the two transforms


def test_about_half_of_the_clips_are_mirrored():
    transform = TrainTransform(16, 16, keep_aspect=False, multi_scale=False, flip=True)
    frame, rng = coordinates(16, 16), np.random.default_rng(0)
    plain = frame.transpose(2, 0, 1)
    flips = 0
    for _ in range(400):
        clip = transform([frame], rng)[0]
        if not np.array_equal(clip, plain):
            assert np.array_equal(clip, plain[:, :, ::-1])
            flips += 1
    assert 160 < flips < 240


def test_without_flip_no_clip_is_mirrored():
    transform = TrainTransform(16, 16, keep_aspect=False, multi_scale=True, flip=False)
    frame, rng = coordinates(16, 16), np.random.default_rng(0)
    for _ in range(100):
        red = transform([frame], rng)[0, 0].astype(int)
        assert (np.diff(red, axis=1) >= 0).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 9999), st.booleans())
def test_one_draw_serves_all_frames_of_a_clip(seed, multi_scale):
    transform = TrainTransform(20, 16, keep_aspect=False, multi_scale=multi_scale, flip=True)
    clip = transform([noise(1, 30, 40)[0]] * 5, np.random.default_rng(seed))
    assert (clip == clip[:1]).all()


def test_every_clip_draws_for_itself():
    transform = TrainTransform(20, 16, keep_aspect=False, multi_scale=True, flip=True)
    frame, rng = noise(1, 30, 40)[0], np.random.default_rng(0)
    assert len({transform([frame], rng).tobytes() for _ in range(50)}) > 45


def test_frames_keep_their_order():
    frames = [np.full((24, 32, 3), level, np.uint8) for level in (5, 9, 7)]
    for clip in (
        EvalTransform(16, 12, keep_aspect=False)(frames),
        TrainTransform(16, 12, keep_aspect=False, multi_scale=True, flip=True)(frames, np.random.default_rng(0)),
    ):
        assert [int(image.min()) for image in clip] == [int(image.max()) for image in clip] == [5, 9, 7]


def test_evaluation_is_scale_and_centre_crop():
    frames = noise(3, 40, 70)
    clip = EvalTransform(24, 20, keep_aspect=False)(frames)
    for frame, got in zip(frames, clip):
        scaled = Image.fromarray(frame).resize((32, 24), Image.BILINEAR)
        assert np.array_equal(got.transpose(1, 2, 0), np.asarray(scaled.crop((6, 2, 26, 22))))


@settings(max_examples=60, deadline=None)
@given(
    width=sizes,
    height=sizes,
    short_size=st.integers(8, 40),
    cut=st.integers(0, 10),
    frames=st.integers(1, 4),
    keep_aspect=st.booleans(),
    multi_scale=st.booleans(),
    flip=st.booleans(),
)
def test_every_size_of_video_gives_the_shape_asked_for(
    width, height, short_size, cut, frames, keep_aspect, multi_scale, flip
):
    target_size = max(short_size - cut, 1)
    video = list(np.zeros((frames, height, width, 3), np.uint8) + np.uint8(9))
    train = TrainTransform(short_size, target_size, keep_aspect, multi_scale, flip)
    for clip in (
        EvalTransform(short_size, target_size, keep_aspect)(video),
        train(video, np.random.default_rng(cut)),
    ):
        assert clip.shape == (frames, 3, target_size, target_size)
        assert clip.dtype == np.uint8
        assert (clip == 9).all()  # nothing of it lies outside the frame


def test_to_array_puts_channels_first():
    (array,) = to_array(images(6, 5))
    assert array.shape == (3, 5, 6)
    assert (array[0] == np.arange(6)).all() and (array[1] == np.arange(5)[:, None]).all() and (array[2] == 0).all()
