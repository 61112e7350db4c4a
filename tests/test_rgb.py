"""Decoded frames as RGB: the colours of v1.5's OpenCV whatever the file says of itself, and upright."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import av.filter
import numpy as np
import pytest
from av.video.reformatter import Colorspace
from hypothesis import given, settings
from hypothesis import strategies as st
from media import MATRICES, decode_all, make_video, moving, set_display_matrix

from video_zoo.datareader.decode import decode_video, open_video
from video_zoo.datareader.rgb import _DIRECT, ToRGB, is_turned, upright
from video_zoo.datareader.rgb import plain as without_marks


def frames_of(path: Path, decoder: str = "pyav") -> np.ndarray:
    return np.stack(decode_video(path, range, decoder=decoder).frames)


def shown(pixels: np.ndarray, a: int, b: int, c: int, d: int) -> np.ndarray:
    """Each pixel (H, W, 3) at the place that a matrix gives it."""
    y, x = np.indices(pixels.shape[:2])
    rows, columns = b * x + d * y, a * x + c * y
    rows, columns = rows - rows.min(), columns - columns.min()
    placed = np.zeros((rows.max() + 1, columns.max() + 1, 3), np.uint8)
    placed[rows, columns] = pixels
    return placed


def filtered(frame: av.VideoFrame, name: str, *options: str) -> av.VideoFrame:
    """What a filter of FFmpeg makes of a frame."""
    graph = av.filter.Graph()
    graph.link_nodes(
        graph.add_buffer(width=frame.width, height=frame.height, format=frame.format.name, time_base=1),
        graph.add(name, *options),
        graph.add("buffersink"),
    ).configure()
    graph.push(frame)
    return graph.pull()


class Marked:
    """In place of a frame: with a display matrix, whose numbers are units of 1 / 65536."""

    def __init__(self, *numbers: int):
        a, b, c, d = numbers
        self.side_data = {"DISPLAYMATRIX": np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], np.int32).tobytes()}


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    return make_video(tmp_path_factory.mktemp("rgb") / "plain.mp4", moving(3, 32, 48))


@pytest.mark.parametrize("matrix", MATRICES)
def test_a_turned_or_mirrored_video_is_upright(plain, tmp_path, matrix):
    path = tmp_path / "turned.mp4"
    path.write_bytes(plain.read_bytes())
    set_display_matrix(path, *matrix)
    wanted = np.stack([shown(frame, *matrix) for frame in frames_of(plain)])
    for decoder in ("pyav", "opencv"):
        frames = frames_of(path, decoder)
        assert np.array_equal(frames, wanted) and frames[0].flags.c_contiguous
    with open_video(path) as video:
        assert is_turned(next(video.decode_all())) == (matrix[0] == 0)


@given(st.sampled_from(MATRICES), st.integers(-7000, 7000), st.integers(1, 1 << 20))
def test_the_nearest_quarter_turn_counts_at_any_scale(matrix, skew, scale):
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    numbers = [value * scale + (0 if value else int(skew * scale / 65536)) for value in matrix]
    assert np.array_equal(upright(pixels, Marked(*numbers)), shown(pixels, *matrix))


def test_a_matrix_of_zeros_turns_nothing():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert np.array_equal(upright(pixels, Marked(0, 0, 0, 0)), pixels) and not is_turned(Marked(0, 0, 0, 0))


@pytest.mark.parametrize(
    "pix_fmt",
    ["yuv420p", "yuv422p", "yuv444p", "yuv410p", "yuv411p", "yuv440p", "nv12", "yuyv422", "gray", "yuv420p10le"],
)
@pytest.mark.parametrize("size", [(32, 48), (33, 48), (33, 47)])
def test_interlaced_frames_are_converted_like_any_other(pix_fmt, size):
    (pixels,) = moving(1, *size)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt)
    wanted = ToRGB()(frame)
    marked = filtered(frame, "setfield", "tff")
    assert marked.interlaced_frame
    assert np.array_equal(ToRGB()(marked), wanted)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "nv12", "yuyv422", "gray", "yuv420p10le"])
def test_rows_that_come_from_the_last_one_on_in_memory(pix_fmt):
    """As the AMV decoder gives them: the copy without marks has its rows from the first one on."""
    frame = av.VideoFrame.from_ndarray(moving(1, 32, 48)[0], format="rgb24").reformat(format=pix_fmt)
    turned = filtered(frame, "vflip")
    assert all(plane.line_size < 0 for plane in turned.planes)
    for plane, copied in zip(frame.planes, without_marks(turned).planes):
        rows, copies = (np.frombuffer(each, np.uint8).reshape(each.height, -1) for each in (plane, copied))
        length = plane.width * (1 + pix_fmt.endswith("10le") + (pix_fmt == "yuyv422"))
        assert copied.line_size > 0 and np.array_equal(copies[:, :length], rows[::-1, :length])


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(sorted(_DIRECT)), st.integers(1, 20), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_what_becomes_rgb_at_once_equals_the_way_by_bgr(pix_fmt, half_height, width, seed):
    frame = av.VideoFrame(width, 2 * half_height, pix_fmt)
    for plane in frame.planes:
        plane.update(np.random.default_rng(seed).bytes(plane.buffer_size))
    frame.color_range = 2 if "j" in pix_fmt else 1
    colours = {"src_colorspace": "ITU601", "dst_colorspace": "ITU601", "interpolation": "BICUBIC"}
    by_bgr = frame.reformat(format="bgr24", **colours).to_ndarray()[:, :, ::-1]
    assert np.array_equal(ToRGB()(frame), by_bgr)


@pytest.mark.parametrize(
    "codec, extension, pix_fmt, size",
    [
        ("libx264", "mp4", "yuv420p", (32, 48)),
        ("libvpx-vp9", "webm", "yuv420p", (121, 160)),
        ("ffv1", "mkv", "yuv420p", (121, 160)),
        ("ffv1", "mkv", "yuv410p", (120, 160)),
        ("ffv1", "mkv", "yuv411p", (120, 160)),
        ("ffv1", "mkv", "yuv440p", (120, 160)),
        ("rawvideo", "nut", "nv12", (120, 160)),
    ],
)
def test_frames_are_opencvs_to_the_bit(tmp_path, codec, extension, pix_fmt, size):
    path = make_video(tmp_path / f"v.{extension}", moving(2, *size), codec, pix_fmt=pix_fmt)
    everything = decode_all(path)
    for decoder in ("pyav", "opencv"):
        assert np.array_equal(frames_of(path, decoder), everything)


@pytest.mark.parametrize("kind", ["interlaced", "BT.709"])
def test_what_a_file_says_of_itself_changes_no_frame_with_any_opencv(tmp_path, kind):
    """OpenCV 4.13 and newer convert these differently."""

    def mark(stream):
        stream.codec_context.colorspace = Colorspace.ITU709

    lossless = {"qp": "0"}
    plain = make_video(tmp_path / "plain.mp4", moving(4), codec_options=lossless)
    if kind == "interlaced":
        path = make_video(tmp_path / "a.mp4", moving(4), codec_options={**lossless, "x264-params": "tff=1"})
    else:
        path = make_video(tmp_path / "a.mp4", moving(4), codec_options=lossless, set_up=mark)
    with open_video(path) as video:
        frame = next(video.decode_all())
        assert frame.interlaced_frame if kind == "interlaced" else frame.colorspace == Colorspace.ITU709
    for decoder in ("pyav", "opencv"):
        assert np.array_equal(frames_of(path, decoder), frames_of(plain))


@pytest.mark.parametrize("upside_down", [False, True])
def test_frames_that_need_no_conversion_are_not_changed(tmp_path, upside_down):
    """A decoder may refer to them for the next one; in AVI files they may be stored from the last row on."""
    pixels = moving(3, 32, 48)
    path = make_video(tmp_path / "a.avi", pixels, "rawvideo", pix_fmt="bgr24")
    if upside_down:
        content = bytearray(path.read_bytes())
        height = content.index(b"strf") + 16  # of the BITMAPINFOHEADER; a negative one is stored from the first row on
        content[height : height + 4] = struct.pack("<i", -struct.unpack_from("<i", content, height)[0])
        path.write_bytes(content)
        pixels = pixels[:, ::-1]
    to_rgb = ToRGB()
    with open_video(path) as video:
        for frame, wanted in zip(video.decode_all(), pixels):
            assert np.array_equal(to_rgb(frame), wanted) and np.array_equal(to_rgb(frame), wanted)
