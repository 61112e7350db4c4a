"""Frames that are images: in a list of encoded ones, or in a folder."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import encode_images, levels, noise
from PIL import Image, ImageOps

from video_zoo.datareader.decode import VideoError
from video_zoo.datareader.images import decode_images, read_frame_folder


def test_images_decode_as_chosen():
    frames = levels(6)
    frames[:, :, :10, 0] = 200  # not grey: the order of the colours shows
    decoded = decode_images(encode_images(frames), lambda count: [count - 1, 0, 0, 3], np.asarray)
    assert np.array_equal(np.stack(decoded), frames[[5, 0, 0, 3]])


def test_jpegs_decode_nearly_to_what_they_were():
    frames = np.broadcast_to(np.linspace(0, 255, 40)[None, None, :, None], (2, 32, 40, 3)).astype(np.uint8)
    decoded = decode_images(encode_images(frames, ".jpg"), lambda count: [0, 1], np.asarray)
    assert np.abs(np.stack(decoded).astype(int) - frames).max() < 8


def test_a_grey_image_becomes_rgb():
    data = cv2.imencode(".png", np.full((8, 9), 7, np.uint8))[1].tobytes()
    (frame,) = decode_images([data], lambda count: [0], np.asarray)
    assert frame.shape == (8, 9, 3) and (frame == 7).all()


@pytest.mark.parametrize("data", [b"", b"\x00", b"no image", b"\xff\xd8\xff\xe0" + bytes(50), "cut png", "huge png"])
def test_an_image_that_is_none_is_named(data):
    good = encode_images(levels(1))[0]
    if data == "cut png":
        data = good[:20]
    elif data == "huge png":
        data = good[:16] + struct.pack(">II", 100_000, 100_000) + good[24:]
    with pytest.raises(VideoError, match="frame 1 is no image"):
        decode_images([good, data], lambda count: [0, 1], np.asarray)


def test_a_small_file_of_too_many_pixels_is_none(tmp_path):
    """144 million pixels of one bit in 18 kB, which would become 432 MB."""
    side = 12_000

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(side * (1 + side // 8)), 1)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    (tmp_path / "0.png").write_bytes(data)
    with pytest.raises(VideoError, match="frame 0 is no image"):
        decode_images([data], lambda count: [0], np.asarray)
    with pytest.raises(VideoError, match="0.png is no image"):
        read_frame_folder(tmp_path, 1, "%d.png", 0, lambda count: [0], np.asarray)


def test_an_image_that_is_not_chosen_is_not_looked_at():
    good = encode_images(levels(1))[0]
    assert len(decode_images([b"bad", good], lambda count: [1], np.asarray)) == 1


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_garbage_images_are_video_errors(data):
    with pytest.raises(VideoError, match="frame 0"):
        decode_images([data], lambda count: [0], np.asarray)


def test_no_images_at_all_are_named():
    with pytest.raises(VideoError, match="holds no frames"):
        decode_images([], lambda count: [0], np.asarray)


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), max_size=8))
def test_what_keep_makes_of_the_chosen_images_comes_back_in_their_order(chosen):
    kept = decode_images(encode_images(levels(6, first=40)), lambda count: chosen, lambda frame: int(frame[0, 0, 0]))
    assert kept == [40 + number for number in chosen]


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """A JPEG whose EXIF says how it is to be turned."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif + jpeg[2:]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_pickles_image_is_ignored_as_in_v15_and_that_of_a_folders_is_applied(
    tmp_path, orientation
):
    turned = with_orientation(encode_images(noise(1), ".jpg")[0], orientation)
    (tmp_path / "1.jpg").write_bytes(turned)
    (as_stored,) = decode_images([turned], range, np.asarray)
    (upright,) = read_frame_folder(tmp_path, 1, "%d.jpg", 1, range, np.asarray)
    image = Image.open(io.BytesIO(turned))
    assert np.array_equal(as_stored, np.asarray(image.convert("RGB")))  # as v1.5 did it
    assert np.array_equal(upright, np.asarray(ImageOps.exif_transpose(image)))


# --- folders


def write_frames(folder: Path, frames: np.ndarray, template: str = "img_%05d.jpg", first: int = 1) -> Path:
    """Each frame as a PNG, whatever its name ends in."""
    for number, data in enumerate(encode_images(frames), first):
        (folder / (template % number)).parent.mkdir(parents=True, exist_ok=True)
        (folder / (template % number)).write_bytes(data)
    return folder


@pytest.mark.parametrize("template, first", [("img_%05d.jpg", 1), ("%d.png", 0), ("rgb/frame %06d", 7), ("100%%%i", 1)])
def test_a_folders_frames_are_named_by_the_template(tmp_path, template, first):
    frames = noise(6)
    folder = write_frames(tmp_path / "a folder", frames, template, first)
    counts = []
    kept = read_frame_folder(folder, 6, template, first, lambda count: counts.append(count) or [5, 0, 0, 3], np.asarray)
    assert counts == [6] and np.array_equal(np.stack(kept), frames[[5, 0, 0, 3]])


def test_the_list_says_how_many_there_are(tmp_path):
    """A folder is not listed: that takes long on a network's disk."""
    folder = write_frames(tmp_path, levels(9))
    assert read_frame_folder(folder, 4, "img_%05d.jpg", 1, range, lambda frame: int(frame[0, 0, 0])) == [0, 1, 2, 3]


@pytest.mark.parametrize("what", ["missing", "a folder", "a device", "empty", "text"])
def test_an_image_that_cannot_be_read_is_named(tmp_path, what):
    folder = write_frames(tmp_path, levels(6))
    image = folder / "img_00004.jpg"
    image.unlink()
    if what == "a folder":
        image.mkdir()
    elif what == "a device":
        image.symlink_to("/dev/zero")
    elif what != "missing":
        image.write_text("" if what == "empty" else "no image")
    reasons = {
        "missing": "No such file .*gives it 6 frames",
        "a folder": "Is a directory",
        "a device": "it is no regular",
    }
    reason = f": {reasons[what]}" if what in reasons else " is no image"
    with pytest.raises(VideoError, match=f"^img_00004.jpg{reason}"):
        read_frame_folder(folder, 6, "img_%05d.jpg", 1, range, np.asarray)
    assert len(read_frame_folder(folder, 6, "img_%05d.jpg", 1, lambda count: [0, 5], np.asarray)) == 2


@pytest.mark.parametrize("what", ["missing", "a file"])
def test_a_folder_that_is_none_is_named(tmp_path, what):
    if what == "a file":
        (tmp_path / "clip").touch()
    with pytest.raises(VideoError, match="no such folder"):
        read_frame_folder(tmp_path / "clip", 6, "img_%05d.jpg", 1, range, np.asarray)
