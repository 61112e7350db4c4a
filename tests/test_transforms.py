"""Scaling, cropping and mirroring: v1.5's sizes and places, drawn once for all frames of a clip."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from media import noise
from PIL import Image

from video_zoo.datareader.decode import VideoError
from video_zoo.datareader.transforms import (
    Box,
    ClipTransform,
    EvalTransform,
    Size,
    Step,
    TrainTransform,
    center_crop,
    multi_scale_crop,
    random_crop,
    scale_and_crop,
    short_side_scaled,
)


def coordinates(width: int, height: int) -> np.ndarray:
    """A frame whose red is x and green is y: a crop shows where it is from."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[..., 0], frame[..., 1] = np.arange(width), np.arange(height)[:, None]
    return frame


def size_of(frame: np.ndarray) -> Size:
    return Size(frame.shape[1], frame.shape[0])


def edges(box: Box) -> tuple[int, int, int, int]:
    """Left, top, right and bottom in whole pixels, as v1.5's crop has it."""
    return tuple(int(round(edge)) for edge in (box.left, box.top, box.left + box.width, box.top + box.height))


def resize_then_crop(image: Image.Image, step: Step) -> Image.Image:
    """v1.5's way: the whole image, then the crop. An image that has the size already is left alone."""
    scaled = image if image.size == step.size else image.resize(step.size, Image.BILINEAR)
    left, top, width, height = step.crop
    return scaled.crop((left, top, left + width, top + height))


# --- the scaled size


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
def test_scaling_squeezes_to_4_by_3(size, short_size, expected):
    assert short_side_scaled(Size(*size), short_size) == expected


@pytest.mark.parametrize(
    "size, short_size, expected",
    [((1280, 720), 256, (455, 256)), ((720, 1280), 256, (256, 455)), ((300, 300), 256, (256, 256))],
)
def test_scaling_may_keep_the_aspect(size, short_size, expected):
    assert short_side_scaled(Size(*size), short_size, keep_aspect=True) == expected


sizes = st.integers(8, 90)


@given(sizes, sizes, st.integers(8, 60), st.booleans())
def test_the_shorter_side_becomes_short_size_and_the_longer_is_never_shorter(width, height, short_size, keep_aspect):
    scaled = short_side_scaled(Size(width, height), short_size, keep_aspect)
    assert min(scaled) == short_size
    if width != height:
        assert (scaled.width <= scaled.height) if width < height else (scaled.width >= scaled.height)
    if min(width, height) == short_size:
        assert scaled == (width, height)
    elif keep_aspect:
        assert abs(max(scaled) - short_size * max(width, height) / min(width, height)) <= 0.5
    else:
        assert max(scaled) == short_size * 4 // 3


# --- scaling and cropping at once

powers_of_2 = st.sampled_from([1, 2, 4, 8, 16, 32, 64, 128])
lengths = st.integers(1, 150) | powers_of_2
places = st.floats(0, 1) | st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])


@st.composite
def scaled_crops(draw) -> tuple[Size, Step]:
    """A source's size, a scaled size that often has a simple relation to it, and a crop inside of that."""
    source = Size(draw(lengths), draw(lengths))
    assume(source.height <= 100 * source.width)  # Pillow scales a taller one in another order

    def scaled_length(length: int) -> int:
        simple = st.sampled_from([length, 2 * length, length // 2, length // 4, 3 * length // 4, length // 3])
        return max(draw(simple | lengths), 1)

    scaled = Size(scaled_length(source.width), scaled_length(source.height))
    # Not 1 px of more: between two pixels, both edges may be rounded to the same.
    width, height = (draw(st.integers(min(2, length), length)) for length in scaled)
    box = Box(draw(places) * (scaled.width - width), draw(places) * (scaled.height - height), width, height)
    return source, Step(scaled, box)


def noise_image(size: Size, seed: int) -> Image.Image:
    """Without any smoothness, so that a weight that is off shows."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size.height, size.width, 3), dtype=np.uint8))


@pytest.mark.contract
@settings(max_examples=400, deadline=None)
@given(scaled_crops(), st.integers(0, 99))
def test_scale_and_crop_is_pillows_resize_and_then_crop(case, seed):
    source, step = case
    image = noise_image(source, seed)
    got, expected = scale_and_crop(image, step), resize_then_crop(image, step)
    assert got.size == expected.size and got.tobytes() == expected.tobytes()


@pytest.mark.contract
@pytest.mark.parametrize(
    "source", [(640, 480), (512, 384), (1024, 512), (340, 256), (1920, 1080), (176, 144), (682, 512)]
)
@pytest.mark.parametrize("keep_aspect", [False, True])
def test_so_it_is_for_the_sizes_of_real_videos(source, keep_aspect):
    image = noise_image(Size(*source), 0)
    scaled = short_side_scaled(Size(*source), 256, keep_aspect)
    for box in (center_crop(scaled, 224), Box(0.25 * (scaled.width - 168), 32.0, 168, 224), Box(0, 0, 256, 256)):
        step = Step(scaled, box)
        assert scale_and_crop(image, step).tobytes() == resize_then_crop(image, step).tobytes()


@pytest.mark.parametrize("source, scaled", [(16383, 8192), (16383, 1024), (12001, 4096), (16384, 683)])
def test_so_it_is_for_widths_that_single_precision_cannot_divide(source, scaled):
    image = noise_image(Size(source, 2), 0)
    for left in (1, scaled // 3, scaled - 300):
        step = Step(Size(scaled, 2), Box(left, 0, 300, 2))
        assert scale_and_crop(image, step).tobytes() == resize_then_crop(image, step).tobytes()


@settings(max_examples=150, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(-8, 40), st.integers(-8, 40), st.integers(1, 50))
def test_a_crop_that_leaves_the_image_is_black_there(width, height, left, top, side):
    """As Pillow's crop has it, whether the image is scaled or not."""
    image = noise_image(Size(width, height), 0)
    for scaled in (Size(width, height), Size(2 * width, height), Size(31, 17)):
        assume(scaled != (side, side))
        step = Step(scaled, Box(left, top, side, side))
        inside = min(left, top) >= 0 and left + side <= scaled.width and top + side <= scaled.height
        for fast in {False, not inside}:
            assert scale_and_crop(image, step, fast).tobytes() == resize_then_crop(image, step).tobytes()


def test_a_crop_as_large_as_the_image_and_beside_it_is_black_there():
    image, step = noise_image(Size(17, 34), 0), Step(Size(34, 34), Box(0, 1, 34, 34))
    assert scale_and_crop(image, step).tobytes() == resize_then_crop(image, step).tobytes()


def test_an_image_more_than_100_times_as_tall_as_wide():
    image, step = noise_image(Size(2, 207), 0), Step(Size(4, 414), Box(0, 300, 4, 65))
    assert scale_and_crop(image, step).tobytes() == resize_then_crop(image, step).tobytes()


@settings(max_examples=300, deadline=None)
@given(scaled_crops(), st.integers(0, 99))
def test_fast_differs_by_two_levels_at_most(case, seed):
    source, step = case
    image = noise_image(source, seed)
    got, expected = (
        np.asarray(each).astype(int) for each in (scale_and_crop(image, step, True), resize_then_crop(image, step))
    )
    assert got.shape == expected.shape and np.abs(got - expected).max() <= 2


@pytest.mark.parametrize(
    "source, scaled, fast, computed",
    [
        ((640, 480), (341, 256), False, (341, 224)),  # 480 / 256 = 15 / 8 is exact, 640 / 341 is not
        ((640, 480), (341, 256), True, (224, 224)),
        ((1024, 512), (512, 256), False, (224, 224)),
        ((1920, 1080), (455, 257), False, (455, 257)),
        ((1920, 1080), (455, 257), True, (224, 224)),
    ],
)
def test_pixels_outside_the_crop_are_not_computed_where_that_is_exact(monkeypatch, source, scaled, fast, computed):
    resized, resize = [], Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda *args, **kwargs: resized.append(args[1]) or resize(*args, **kwargs)
    )
    scale_and_crop(Image.new("RGB", source), Step(Size(*scaled), center_crop(Size(*scaled), 224)), fast)
    assert resized == [computed]


# --- crops


@pytest.mark.contract
@given(sizes, sizes, st.integers(1, 90))
def test_center_crop_rounds_as_v15(width, height, size):
    size = min(size, width, height)
    expected = (int(round((width - size) / 2.0)), int(round((height - size) / 2.0)), size, size)
    assert center_crop(Size(width, height), size) == expected


@pytest.mark.contract
@pytest.mark.parametrize("room, expected", [(0, 0), (1, 0), (2, 1), (3, 2), (5, 2), (7, 4), (9, 4)])
def test_a_half_is_rounded_to_the_even_place(room, expected):
    assert center_crop(Size(20 + room, 20), 20)[:2] == (expected, 0)
    assert center_crop(Size(20, 20 + room), 20)[:2] == (0, expected)


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


@pytest.mark.contract
@pytest.mark.parametrize("width, height, size", [(85, 64, 64), (40, 30, 28), (30, 40, 30), (32, 32, 24)])
def test_multi_scale_crops_are_the_contracts_and_all_of_them(width, height, size):
    expected = set().union(*fixed_crops(width, height, size).values())
    rng = np.random.default_rng(0)
    assert {edges(multi_scale_crop(Size(width, height), size, rng)) for _ in range(2500)} == expected


@pytest.mark.contract
def test_the_sizes_of_multi_scale_crops_for_64_px():
    """Worked by hand: 64, 56, 48 and 42 px; width and height at most one step apart."""
    pairs = {(64, 64), (64, 56), (56, 64), (56, 56), (56, 48), (48, 56), (48, 48), (48, 42), (42, 48), (42, 42)}
    assert set(fixed_crops(85, 64, 64)) == pairs


@pytest.mark.contract
@pytest.mark.parametrize("size, second", [(53, 56), (54, 54), (55, 55), (58, 58), (59, 56)])
def test_a_side_nearer_than_3_px_to_short_size_becomes_it(size, second):
    rng = np.random.default_rng(0)
    assert {multi_scale_crop(Size(64, 64), size, rng).width for _ in range(300)} == {64, second, 48, 42}


@settings(max_examples=40, deadline=None)
@given(st.integers(16, 90), st.integers(16, 90), st.integers(0, 999))
def test_a_multi_scale_crop_is_one_of_the_contracts_resized(width, height, seed):
    """On pixels, and without looking inside."""
    size = min(width, height)
    frame = noise(1, height, width)[0]
    transform = TrainTransform(size, size, keep_aspect=False, multi_scale=True, flip=False)
    got = transform.draw(size_of(frame), np.random.default_rng(seed))(frame).transpose(1, 2, 0)
    boxes = set().union(*fixed_crops(width, height, size).values())
    candidates = (Image.fromarray(frame).crop(box).resize((size, size), Image.BILINEAR) for box in boxes)
    assert any(np.array_equal(got, np.asarray(candidate)) for candidate in candidates)


@pytest.mark.contract
@pytest.mark.parametrize("width, height, size", [(20, 16, 12), (16, 20, 12), (16, 16, 16), (17, 16, 16)])
def test_random_crops_cover_every_place_and_nothing_else(width, height, size):
    rng = np.random.default_rng(0)
    seen = {random_crop(Size(width, height), size, rng) for _ in range(1000)}
    assert seen == {(x, y, size, size) for x in range(width - size + 1) for y in range(height - size + 1)}


# --- what is drawn for a clip


@given(st.integers(0, 9999), st.integers(8, 90), st.integers(8, 90), st.booleans(), st.booleans())
def test_the_same_generator_draws_the_same_transform(seed, width, height, multi_scale, flip):
    transform = TrainTransform(20, 16, False, multi_scale, flip)
    one, other = (transform.draw(Size(width, height), np.random.default_rng(seed)) for _ in range(2))
    assert one == other
    assert len(one.steps) == 1 + multi_scale
    assert one.steps[0].size == short_side_scaled(Size(width, height), 20)
    assert one.steps[-1].crop[2:] == (16, 16) and not one.fast
    if multi_scale:
        assert edges(one.steps[0].crop) in set().union(*fixed_crops(*one.steps[0].size, 20).values())
        assert one.steps[1].size == (20, 20)


def test_about_half_of_the_clips_are_mirrored():
    transform = TrainTransform(16, 16, keep_aspect=False, multi_scale=False, flip=True)
    frame, rng = coordinates(16, 16), np.random.default_rng(0)
    plain = frame.transpose(2, 0, 1)
    flips = 0
    for _ in range(400):
        drawn = transform.draw(size_of(frame), rng)
        assert np.array_equal(drawn(frame), plain[:, :, ::-1] if drawn.mirror else plain)
        flips += drawn.mirror
    assert 160 < flips < 240


def test_without_flip_no_clip_is_mirrored():
    transform = TrainTransform(16, 16, keep_aspect=False, multi_scale=True, flip=False)
    frame, rng = coordinates(16, 16), np.random.default_rng(0)
    for _ in range(100):
        red = transform.draw(size_of(frame), rng)(frame)[0].astype(int)
        assert (np.diff(red, axis=1) >= 0).all()


@pytest.mark.contract
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 9999), st.booleans())
def test_a_clips_frames_are_treated_alike_and_as_v15_does(seed, multi_scale):
    """Scaled, cropped at several sizes, cropped at random, mirrored: with Pillow, the whole frame each time."""
    frames = noise(3, 30, 45)
    drawn = TrainTransform(20, 16, False, multi_scale, True).draw(Size(45, 30), np.random.default_rng(seed))
    for frame in frames:
        image = Image.fromarray(frame)
        for step in drawn.steps:
            image = resize_then_crop(image, step)
        if drawn.mirror:
            image = image.transpose(Image.FLIP_LEFT_RIGHT)
        assert np.array_equal(drawn(frame), np.asarray(image).transpose(2, 0, 1))


def test_every_clip_draws_for_itself():
    transform = TrainTransform(20, 16, keep_aspect=False, multi_scale=True, flip=True)
    rng = np.random.default_rng(0)
    assert len({transform.draw(Size(40, 30), rng) for _ in range(50)}) > 45


def test_frames_of_another_size_are_scaled_to_the_first_ones_and_of_another_shape_refused():
    """As v1.5, whose squeeze makes all landscapes alike."""
    drawn = EvalTransform(16, 12, keep_aspect=False).draw(Size(40, 30))
    frames = noise(1, 30, 40)[0], noise(1, 60, 90)[0]
    for frame in frames:
        alone = EvalTransform(16, 12, keep_aspect=False).draw(Size(frame.shape[1], frame.shape[0]))
        assert np.array_equal(drawn(frame), alone(frame))
    for height, width in ((40, 30), (16, 30)):
        with pytest.raises(VideoError, match="frames change their shape"):
            drawn(np.zeros((height, width, 3), np.uint8))


def test_evaluation_is_scale_and_centre_crop():
    frames = noise(3, 40, 70)
    drawn = EvalTransform(24, 20, keep_aspect=False).draw(Size(70, 40))
    for frame in frames:
        scaled = Image.fromarray(frame).resize((32, 24), Image.BILINEAR)
        assert np.array_equal(drawn(frame).transpose(1, 2, 0), np.asarray(scaled.crop((6, 2, 26, 22))))


def test_evaluation_draws_nothing():
    transform = EvalTransform(24, 20, keep_aspect=False)
    rng = np.random.default_rng(0)
    assert transform.draw(Size(70, 40), rng) == transform.draw(Size(70, 40))
    assert rng.random() == np.random.default_rng(0).random()


@pytest.mark.parametrize(
    "transform", [TrainTransform(20, 16, False, True, True, True), EvalTransform(20, 16, False, True)]
)
def test_fast_is_handed_on(transform):
    assert transform.draw(Size(40, 30), np.random.default_rng(0)).fast


@settings(max_examples=60, deadline=None)
@given(
    width=sizes,
    height=sizes,
    short_size=st.integers(8, 40),
    cut=st.integers(0, 10),
    keep_aspect=st.booleans(),
    multi_scale=st.booleans(),
    flip=st.booleans(),
    fast=st.booleans(),
)
def test_every_size_of_video_gives_the_shape_asked_for(
    width, height, short_size, cut, keep_aspect, multi_scale, flip, fast
):
    target_size = max(short_size - cut, 1)
    frame = np.full((height, width, 3), 9, np.uint8)
    for transform in (
        EvalTransform(short_size, target_size, keep_aspect, fast),
        TrainTransform(short_size, target_size, keep_aspect, multi_scale, flip, fast),
    ):
        result = transform.draw(Size(width, height), np.random.default_rng(cut))(frame)
        assert result.shape == (3, target_size, target_size)
        assert result.dtype == np.uint8
        assert (result == 9).all()  # nothing of it lies outside the frame


def test_channels_come_first():
    array = ClipTransform(5, True, (Step(Size(6, 5), Box(0, 0, 6, 5)),))(coordinates(6, 5))
    assert array.shape == (3, 5, 6)
    assert (array[0] == np.arange(6)).all() and (array[1] == np.arange(5)[:, None]).all() and (array[2] == 0).all()
