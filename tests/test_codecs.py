"""What packets say of their pictures: of real streams, of hand-made ones, and of garbage."""

from __future__ import annotations

import contextlib

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import make_video, moving

from video_zoo.datareader.codecs import Picture, Unclear, describer

ENCODERS = {"h264": "libx264", "hevc": "libx265", "mpeg4": "mpeg4", "vp9": "libvpx-vp9", "av1": "libsvtav1"}
OPTIONS = {
    "libx264": {"g": "15"},
    "libx265": {"x265-params": "keyint=15:log-level=none:pools=none"},
    "mpeg4": {"g": "12", "bf": "2"},
    "libvpx-vp9": {"g": "15", "cpu-used": "8"},
    "libsvtav1": {"g": "15", "preset": "12", "svtav1-params": "lp=1"},
}


@pytest.fixture(scope="module")
def streams(tmp_path_factory) -> dict[str, tuple[bytes, list[tuple[bytes, bool, str, int]]]]:
    """codec -> extradata, and (packet, keyframe, kind of picture: I, P or B, pts) of each packet."""
    folder, made = tmp_path_factory.mktemp("streams"), {}
    for codec, encoder in ENCODERS.items():
        path = make_video(folder / f"{codec}.mp4", moving(40), encoder, codec_options=OPTIONS[encoder])
        with av.open(str(path)) as container:
            context = container.streams.video[0].codec_context
            packets = [packet for packet in container.demux(video=0) if packet.size]
            frames = [frame for packet in [*packets, None] for frame in context.decode(packet)]
            kinds = {frame.pts: av.video.frame.PictureType(frame.pict_type).name for frame in frames}
            rows = [(bytes(packet), packet.is_keyframe, kinds[packet.pts], packet.pts) for packet in packets]
            made[codec] = (context.extradata or b"", rows)
    return made


def pictures(streams, codec: str) -> list[Picture]:
    extradata, rows = streams[codec]
    describe = describer(codec, extradata)
    return [describe(packet) for packet, *_ in rows]


@pytest.mark.parametrize("codec", ENCODERS)
def test_starts_are_the_keyframes(streams, codec):
    keyframes = [keyframe for _, keyframe, *_ in streams[codec][1]]
    assert [picture.start for picture in pictures(streams, codec)] == keyframes
    assert sum(keyframes) > 1 and keyframes[0]


@pytest.mark.parametrize("codec", ["h264", "hevc", "mpeg4"])
def test_only_b_pictures_are_not_needed(streams, codec):
    described = list(zip(pictures(streams, codec), (kind for _, _, kind, _ in streams[codec][1])))
    leaves = [kind for picture, kind in described if not picture.needed]
    assert leaves and set(leaves) == {"B"}
    assert all(picture.needed for picture, kind in described if kind != "B")


@pytest.mark.parametrize("codec", ["vp9", "av1"])
def test_all_are_needed_where_pictures_hand_on_more_than_pixels(streams, codec):
    assert all(picture.needed for picture in pictures(streams, codec))


@pytest.mark.parametrize("codec", ENCODERS)
def test_the_order_is_that_of_the_timestamps(streams, codec):
    rows = enumerate(zip(pictures(streams, codec), streams[codec][1]))
    ordered = [row for place, row in sorted(rows, key=lambda each: each[1][0].order or (0, each[0]))]
    times = [time for _, (_, _, _, time) in ordered]
    assert times == sorted(set(times)) and len(times) == 40


def test_a_missing_reference_shows_in_h264s_numbers(streams):
    extradata, rows = streams["h264"]
    described = pictures(streams, "h264")
    for lost in range(1, len(rows) - 1):
        describe = describer("h264", extradata)
        later = [place for place in range(len(rows)) if place != lost]
        if not described[lost].needed or described[lost + 1].start:
            assert [describe(rows[place][0]) for place in later]
        else:
            with pytest.raises(Unclear, match="missing"):
                [describe(rows[place][0]) for place in later]


@pytest.mark.parametrize("codec", ENCODERS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_garbage_is_unclear_or_a_picture(streams, codec, data):
    extradata, rows = streams[codec]
    packet = bytearray(data.draw(st.sampled_from(rows))[0][:200])
    for _ in range(data.draw(st.integers(0, 8))):
        packet[data.draw(st.integers(0, min(len(packet), 40) - 1))] = data.draw(st.integers(0, 255))
    packet = bytes(packet[: data.draw(st.integers(0, len(packet)))])
    for content in (packet, data.draw(st.binary(max_size=60))):
        try:
            assert isinstance(describer(codec, extradata)(content), Picture)
        except Unclear as error:
            assert str(error)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["h264", "hevc"]), st.one_of(st.binary(max_size=40), st.binary(max_size=40).map(b"\1".__add__)))
def test_any_extradata(codec, extradata):
    try:
        describe = describer(codec, extradata)
    except Unclear:
        return
    with contextlib.suppress(Unclear):
        describe(b"\0\0\0\2\x65\x88" * 3)


@pytest.mark.parametrize("codec", ["vp8", "mpeg2video", "mjpeg", "", "h263"])
def test_other_codecs(codec):
    assert describer(codec, b"") is None


# --- hand-made: VP9 and AV1 packets that are not one shown picture


def vp9_frame(key: bool, shown: bool, existing: bool = False) -> bytes:
    """The first bits of a header: marker 10, profile 00, show_existing_frame, frame_type, show_frame."""
    return bytes([0b1000_0000 | existing << 3 | (not key) << 2 | shown << 1, 0, 0])


def superframe(*frames: bytes) -> bytes:
    marker = bytes([0b110_00_000 | len(frames) - 1])
    return b"".join(frames) + marker + bytes(map(len, frames)) + marker


SEQUENCE, KEY, INTER, HIDDEN, EXISTING = b"\x0a\1\0", b"\x32\1\x10", b"\x32\1\x30", b"\x32\1\x20", b"\x1a\1\x80"


@pytest.mark.parametrize(
    ("codec", "packet", "start"),
    [
        ("vp9", vp9_frame(True, True), True),
        ("vp9", vp9_frame(False, True), False),
        ("vp9", vp9_frame(False, True, existing=True), False),
        ("vp9", superframe(vp9_frame(False, False), vp9_frame(False, True)), False),
        ("vp9", superframe(vp9_frame(True, False), vp9_frame(False, True)), True),
        ("vp9", superframe(vp9_frame(False, False), vp9_frame(True, True)), False),
        ("vp9", vp9_frame(False, False), None),
        ("vp9", superframe(vp9_frame(False, True), vp9_frame(False, True)), None),
        ("vp9", b"\0\0\0", None),
        ("av1", b"\x12\0" + SEQUENCE + KEY, True),
        ("av1", b"\x12\0" + KEY, False),
        ("av1", b"\x12\0" + INTER, False),
        ("av1", HIDDEN + INTER, False),
        ("av1", EXISTING, False),
        ("av1", SEQUENCE + HIDDEN + KEY, False),
        ("av1", HIDDEN, None),
        ("av1", INTER + INTER, None),
        ("av1", b"\x0a\1\x18" + KEY, None),  # a still picture
        ("av1", b"", None),
    ],
)
def test_packets_of_vp9_and_av1(codec, packet, start):
    describe = describer(codec, b"")
    if start is None:
        with pytest.raises(Unclear):
            describe(packet)
    else:
        assert describe(packet) == Picture(start, True)
