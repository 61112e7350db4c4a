"""Selective decoding gives the frames of a full one, to the bit, whatever the codec, the container and their quirks.

The full decode is OpenCV's, as v1.5's was; PyAV's own for what OpenCV cannot read, or converts to RGB differently.
"""

from __future__ import annotations

import functools
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from media import decode_all, levels, make_audio, make_video, moving, remux

from video_zoo.datareader import packets
from video_zoo.datareader.codecs import Picture, Unclear
from video_zoo.datareader.decode import VideoError, decode_video, open_video
from video_zoo.datareader.packets import PacketTable, plan
from video_zoo.datareader.rgb import ToRGB
from video_zoo.datareader.selective import PacketVideo

FRAMES = 48


class Kind(NamedTuple):
    """How a clip is encoded. unclear: why everything is decoded. opencv: whether OpenCV's RGB is the reference."""

    name: str
    codec: str = "libx264"
    options: dict = {}
    unclear: str = ""
    opencv: bool = True
    pix_fmt: str = "yuv420p"
    size: tuple[int, int] = (64, 96)


def x264(name: str, parameters: str = "", unclear: str = "", **others) -> Kind:
    options = {"g": "20", "x264-params": parameters} if parameters else {"g": "20"}
    return Kind(name, options={**options, **others.pop("options", {})}, unclear=unclear, **others)


def x265(name: str, parameters: str = "", **others) -> Kind:
    parameters = f"keyint=20:log-level=none:pools=none{parameters}"
    return Kind(name, "libx265", {"x265-params": parameters}, **others)


VP9 = {"g": "20", "lag-in-frames": "16", "cpu-used": "8"}
AV1 = {"g": "20", "preset": "12", "svtav1-params": "lp=1"}
NO_TIMES = "timestamps are missing"
KINDS = [
    x264("x264.mp4"),
    x264("x264.mkv"),
    x264("x264.mov"),
    x264("x264.ts"),
    x264("x264.flv"),
    x264("x264.avi", unclear="times of presentation"),
    x264("x264.h264", unclear=NO_TIMES),
    x264("no B-frames.mp4", options={"bf": "0"}),
    x264("open groups.mp4", "open-gop=1:keyint=15"),
    x264("intra refresh.mp4", options={"intra-refresh": "1"}),
    x264("pyramid.mp4", "b-pyramid=normal:bframes=7:b-adapt=0:scenecut=0"),
    x264("strict pyramid.mp4", "b-pyramid=strict:bframes=7:b-adapt=0"),
    x264("slices.mp4", options={"slices": "4"}),
    x264("baseline.mp4", options={"profile": "baseline"}),
    x264("matrices.mp4", "cqm=jvt"),
    x264("repeated headers.mp4", "repeat-headers=1"),
    x264("interlaced.mp4", "tff=1", unclear="interlaced", opencv=False),
    x264("10 bits.mp4", opencv=False, pix_fmt="yuv420p10le"),
    x264("full chroma, odd size.mp4", pix_fmt="yuv444p", size=(51, 67)),
    x265("x265.mp4"),
    x265("x265.mkv"),
    x265("x265.ts"),
    x265("closed groups.mp4", ":open-gop=0"),
    x265("layers.mp4", ":temporal-layers=3:bframes=7"),
    x265("x265 repeated headers.mp4", ":repeat-headers=1"),
    x265("x265 10 bits.mp4", opencv=False, pix_fmt="yuv420p10le"),
    Kind("mpeg4.mp4", "mpeg4", {"g": "12", "bf": "2"}),
    Kind("mpeg4.avi", "mpeg4", {"g": "12", "bf": "2"}),
    Kind("mpeg4 P.mp4", "mpeg4", {"g": "12"}),
    Kind("vp9.webm", "libvpx-vp9", VP9),
    Kind("vp9.mp4", "libvpx-vp9", {**VP9, "auto-alt-ref": "6"}),
    Kind("vp9 odd size.webm", "libvpx-vp9", VP9, size=(51, 67)),
    Kind("av1.mp4", "libsvtav1", AV1, opencv=False),
    Kind("av1.webm", "libsvtav1", AV1, opencv=False),
    Kind("vp8.webm", "libvpx", {"g": "20", "lag-in-frames": "16"}, unclear="nothing is known"),
    Kind("mpeg2.mpg", "mpeg2video", {"g": "12", "bf": "2"}, unclear="nothing is known"),
    Kind("mjpeg.mp4", "mjpeg", unclear="nothing is known", pix_fmt="yuvj420p"),
]


@pytest.fixture(scope="session")
def make(tmp_path_factory):
    """Encodes a kind, once; skips the test where FFmpeg has no such encoder. Returns its path and all its frames."""
    folder = tmp_path_factory.mktemp("kinds")

    @functools.cache
    def made(name: str) -> tuple[Path, np.ndarray]:
        kind = next(kind for kind in KINDS if kind.name == name)
        try:
            av.codec.Codec(kind.codec, "w")
        except ValueError:
            pytest.skip(f"this FFmpeg has no {kind.codec}")
        frames = moving(FRAMES, *kind.size)
        path = make_video(folder / name, frames, kind.codec, codec_options=kind.options, pix_fmt=kind.pix_fmt)
        return path, decode_all(path) if kind.opencv else pyav_all(path)

    return made


def pyav_all(path: Path) -> np.ndarray:
    """Every frame as PyAV decodes it, without anything of ours but the conversion."""
    with av.open(str(path)) as container:
        return np.stack(list(map(ToRGB(), container.decode(video=0))))


def unclear(path: Path) -> str:
    with PacketVideo(path) as video:
        return video.table.unclear or ""


def assert_equal_to(everything: np.ndarray, path: Path, numbers: list[int]) -> None:
    decoded = decode_video(path, lambda count: [number % count for number in numbers], decoder="pyav")
    assert decoded.damage is None
    assert decoded.num_frames == len(everything)
    assert np.array_equal(np.stack(decoded.frames), everything[np.array(numbers) % len(everything)])


CHOICES = [[3], [FRAMES - 1], [0, FRAMES - 1], [19, 20, 21], [9, 33], list(range(2, FRAMES, 6)), list(range(FRAMES))]


@pytest.mark.parametrize("name", [kind.name for kind in KINDS])
def test_equal_to_a_full_decode(make, name):
    path, everything = make(name)
    kind = next(kind for kind in KINDS if kind.name == name)
    assert len(everything) == FRAMES
    if kind.unclear:
        assert kind.unclear in unclear(path)
    else:
        assert unclear(path) == ""
    rng = np.random.default_rng(len(name))
    for numbers in [*CHOICES, *(rng.integers(0, FRAMES, 4).tolist() for _ in range(5))]:
        assert_equal_to(everything, path, numbers)


@pytest.mark.parametrize("name", [kind.name for kind in KINDS if not kind.unclear])
def test_it_is_selective(make, name):
    """Not one of these quietly falls back to decoding everything."""
    path, everything = make(name)
    for numbers in CHOICES:
        with PacketVideo(path) as video:
            frames = {number: ToRGB()(frame) for number, frame in video.decode_selected(numbers)}
        assert all(np.array_equal(frames[number], everything[number]) for number in numbers)
        assert sorted(frames) == sorted(set(numbers))


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["x264.mp4", "pyramid.mp4", "x265.mp4", "layers.mp4", "mpeg4.mp4", "open groups.mp4"]),
    st.lists(st.integers(0, FRAMES - 1), min_size=1, max_size=8),
)
def test_any_choice_is_equal(make, name, numbers):
    path, everything = make(name)
    assert_equal_to(everything, path, numbers)


def packets_decoded(path: Path, numbers: list[int]) -> int:
    with PacketVideo(path) as video:
        shown = video.table.shown()
        return sum(
            run.last - run.first + 1 - len(run.left_out) for run in plan(video.table, [shown[n] for n in numbers])
        )


def test_how_little_is_decoded(make):
    path, _ = make("x264.mp4")
    with PacketVideo(path) as video:
        starts = [place for place, picture in enumerate(video.table.pictures) if picture.start]
    assert starts[1] <= 20
    assert packets_decoded(path, [0]) == 1
    assert packets_decoded(path, [starts[1]]) == 1  # a later group of pictures, and nothing before it
    assert packets_decoded(path, [starts[1] - 1]) < starts[1]  # some B-frames are left out
    assert packets_decoded(path, range(FRAMES)) == FRAMES


@pytest.mark.parametrize("name, probed", [("x264.mp4", False), ("x264.mkv", True), ("interlaced.mp4", True)])
def test_an_mp4_file_that_leaves_no_doubt_is_opened_without_decoding(make, name, probed):
    """FFmpeg knows the pixel format of H.264 from a picture that it has decoded."""
    path, _ = make(name)
    with open_video(path) as video, PacketVideo(path) as whole:
        assert (video.context.pix_fmt is not None) == probed
        assert whole.context.pix_fmt == "yuv420p"
        assert (video.table.unclear, video.table.pts) == (whole.table.unclear, whole.table.pts)


# --- containers' quirks


@pytest.mark.parametrize("name", ["x264.mp4", "x265.mp4"])
@pytest.mark.parametrize("hidden", [1, 7, 20, 23])
def test_frames_hidden_by_an_edit_list_do_not_count(make, tmp_path, name, hidden):
    path, everything = make(name)

    def earlier(number, packet):
        packet.pts -= hidden * 512
        packet.dts -= hidden * 512

    options = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    edited = remux(path, tmp_path / "edited.mp4", earlier, options)
    assert np.array_equal(decode_all(edited), everything[hidden:])
    assert unclear(edited) == "" or name == "x265.mp4" and hidden > 19  # that one begins with an open group
    for numbers in CHOICES:
        assert_equal_to(everything[hidden:], edited, numbers)


def test_an_edit_list_that_hides_everything(tmp_path):
    path = make_video(tmp_path / "v.mp4", moving(1))

    def earlier(number, packet):
        packet.pts -= 512
        packet.dts -= 512

    options = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    hidden = remux(path, tmp_path / "hidden.mp4", earlier, options)
    with pytest.raises(VideoError, match="not one frame"):
        decode_video(hidden, lambda count: [0])


@pytest.mark.parametrize("name", ["x264.mp4", "open groups.mp4", "x265.mp4"])
@pytest.mark.parametrize("first", [1, 9, 20, 21])
@pytest.mark.parametrize("extension", ["mp4", "mkv"])
def test_a_stream_cut_at_its_beginning(make, tmp_path, name, first, extension):
    """Also one that begins with frames whose references are gone."""
    cut = remux(make(name)[0], tmp_path / f"cut.{extension}", lambda number, packet: number >= first)
    everything = pyav_all(cut) if name == "x265.mp4" else decode_all(cut)  # FFmpeg 7 and 8 differ here
    for numbers in ([0], [3, 11], [len(everything) - 1]):
        assert_equal_to(everything, cut, numbers)


@pytest.mark.parametrize("name", ["x264.mp4", "pyramid.mp4", "x265.mp4", "layers.mp4", "mpeg4.mp4", "vp9.webm"])
@pytest.mark.parametrize("lost", [range(5, 6), range(8, 11), range(12, 13), range(20, 21), range(23, 31)])
def test_lost_packets(make, tmp_path, name, lost):
    """Some lose a reference: whatever a decoder makes of that, it is the same as in a full decode."""
    gap = remux(make(name)[0], tmp_path / "gap.mkv", lambda number, packet: number not in lost)
    try:
        everything = pyav_all(gap)
    except av.FFmpegError:
        everything = None
    for numbers in CHOICES:
        decoded = decode_video(gap, lambda count, numbers=numbers: [number % count for number in numbers])
        if everything is None:
            assert decoded.damage
        elif not decoded.damage:
            assert decoded.num_frames == len(everything)
            assert np.array_equal(np.stack(decoded.frames), everything[np.array(numbers) % len(everything)])


def test_a_repeated_timestamp(make, tmp_path):
    path, everything = make("x264.mp4")

    def repeat(number, packet):
        packet.pts += 512 * (number == 11)

    repeated = remux(path, tmp_path / "repeated.mkv", repeat)
    assert NO_TIMES in unclear(repeated)
    assert_equal_to(decode_all(repeated), repeated, [1, 12, 30])


def test_a_variable_frame_rate(tmp_path):
    times_ms = np.cumsum(np.random.default_rng(0).integers(5, 400, FRAMES))
    path = make_video(tmp_path / "v.mp4", moving(FRAMES), codec_options={"g": "20"}, times_ms=times_ms)
    everything = decode_all(path)
    assert unclear(path) == "" and len(everything) == FRAMES
    for numbers in CHOICES:
        assert_equal_to(everything, path, numbers)


@pytest.mark.parametrize("movflags", ["faststart", "frag_keyframe+empty_moov"])
def test_where_an_mp4_has_its_header(tmp_path, movflags):
    options = {"movflags": movflags}
    path = make_video(tmp_path / "v.mp4", moving(FRAMES), codec_options={"g": "20"}, file_options=options)
    assert_equal_to(decode_all(path), path, [0, 17, 40])


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4", "libvpx-vp9"])
def test_the_shortest_videos(tmp_path, codec, count):
    # With B-frames, x265 leaves the decoding times of the first packets to chance where no more follow.
    options = {"x265-params": "log-level=none:pools=none:bframes=0"} if codec == "libx265" else {}
    path = make_video(tmp_path / "v.mp4", moving(count), codec, codec_options=options)
    assert_equal_to(decode_all(path), path, list(range(count)))


def test_a_sound_track_before_the_video(make, tmp_path):
    video, everything = make("x264.mp4")
    path = tmp_path / "both.mkv"
    with (
        av.open(str(make_audio(tmp_path / "a.mp4"))) as sound,
        av.open(str(video)) as old,
        av.open(str(path), "w") as new,
    ):
        streams = [new.add_stream_from_template(each) for each in (sound.streams.audio[0], old.streams.video[0])]
        for source, stream in zip((sound, old), streams):
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = stream
                    new.mux(packet)
    assert_equal_to(everything, path, [0, 17, 40])


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_rotated_video_is_upright(make, tmp_path, degrees):
    path, everything = make("x264.mp4")
    turned = tmp_path / "turned.mp4"
    with av.open(str(path)) as old, av.open(str(turned), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("this PyAV cannot mark a rotation")
        stream.set_display_rotation(degrees)
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    upright = np.rot90(everything, degrees // 90, axes=(1, 2))
    assert np.array_equal(decode_all(turned), upright)
    assert_equal_to(upright, turned, [0, 17, 40])


def test_the_packets_of_a_large_file_are_not_kept(make, monkeypatch):
    """Of a file whose packets are not kept, the needed ones are read again."""
    path, everything = make("x264.mp4")
    monkeypatch.setattr(packets, "KEPT_BYTES", 1000)
    with PacketVideo(path) as video:
        assert video.table.packets is None
    for numbers in CHOICES:
        assert_equal_to(everything, path, numbers)


@pytest.mark.parametrize("name", [kind.name for kind in KINDS if kind.name.endswith((".mkv", ".ts", ".avi", ".webm"))])
def test_packets_that_are_not_kept_are_read_again(make, monkeypatch, name):
    path, everything = make(name)
    monkeypatch.setattr(packets, "KEPT_BYTES", 0)
    for numbers in CHOICES[:5]:
        assert_equal_to(everything, path, numbers)


def test_colours_are_v15s_whatever_the_file_says_of_them(tmp_path):
    """OpenCV 4.2 takes BT.601 for everything: the same numbers, marked as BT.709, give the same colours."""
    frames = moving(6)
    plain, marked = tmp_path / "plain.mp4", tmp_path / "marked.mp4"
    make_video(plain, frames)
    make_video(marked, frames, codec_options={"x264-params": "colormatrix=bt709:colorprim=bt709:transfer=bt709"})
    assert np.array_equal(pyav_all(plain), pyav_all(marked))
    assert np.array_equal(pyav_all(plain), decode_all(plain))


# --- streams and containers that do not agree


def units(packet: av.Packet) -> list[int]:
    """Where the units of a packet of an mp4 begin."""
    data, places, position = bytes(packet), [], 0
    while position < len(data):
        places.append(position + 4)
        position += 4 + int.from_bytes(data[position : position + 4], "big")
    return places


def hevc_kind(data: bytes, unit: int) -> int:
    return data[unit] >> 1 & 63


@pytest.fixture(scope="module")
def open_groups(tmp_path_factory) -> Path:
    """HEVC whose later groups of pictures begin with CRA pictures and leading ones."""
    path = tmp_path_factory.mktemp("hevc") / "open.mp4"
    parameters = "keyint=12:min-keyint=12:scenecut=0:bframes=4:b-adapt=0:open-gop=1:log-level=none:pools=none"
    return make_video(path, moving(FRAMES), "libx265", codec_options={"x265-params": parameters})


def splice(number: int, packet: av.Packet) -> bytes | None:
    """The second CRA picture becomes a BLA picture, as where streams are joined."""
    data = bytearray(bytes(packet))
    for unit in units(packet):
        if hevc_kind(data, unit) == 21 and number > 20:
            data[unit] = 16 << 1 | data[unit] & 0x81
    return bytes(data)


def end_of_sequence(number: int, packet: av.Packet) -> bytes:
    return bytes(packet) + (b"\0\0\0\2\x48\x01" if number == 20 else b"")


def drop_prior(number: int, packet: av.Packet) -> bytes:
    """Random access points say that what waits to be shown is dropped (no_output_of_prior_pics_flag)."""
    data = bytearray(bytes(packet))
    for unit in units(packet):
        if number and 16 <= hevc_kind(data, unit) <= 23:
            data[unit + 2] |= 0x40
    return bytes(data)


@pytest.mark.parametrize("change", [splice, end_of_sequence, drop_prior])
def test_hevc_that_is_joined_or_drops_pictures(open_groups, tmp_path, change):
    path = remux(open_groups, tmp_path / "v.mp4", change)
    assert "a stream" in unclear(path) or "dropped" in unclear(path)
    everything = pyav_all(path)
    for numbers in CHOICES:
        assert_equal_to(everything, path, numbers)


def test_a_slice_that_the_decoder_skips_is_not_passed_over(make, tmp_path):
    """FFmpeg leaves in its place what is in memory, and marks nothing."""

    def add_slice(place: int, packet: av.Packet) -> bytes | None:
        data, last = bytes(packet), units(packet)[-1]
        return None if place != 12 else data + b"\0\0\0\6" + data[last : last + 2] + b"\x5a\x02\x3f\xea"

    path = remux(make("x265.mp4")[0], tmp_path / "v.mp4", add_slice)
    with PacketVideo(path) as video:
        number = video.table.shown().index(12)
        assert video.table.unclear is None
        with pytest.raises(Unclear, match="cannot be decoded"):
            list(video.decode_selected([number]))
    assert_equal_to(pyav_all(path), path, [number])


@pytest.mark.parametrize("name, pyramid", [("libx264", "b-pyramid=none"), ("libx264", "b-pyramid=normal")])
@pytest.mark.parametrize("first", [2, 3])
@pytest.mark.parametrize("extension", ["mp4", "mkv"])
def test_two_b_frames_with_each_others_timestamps(tmp_path, name, pyramid, first, extension):
    """The decoder goes by the stream's own order."""
    options = {"g": "20", "bf": "3", "x264-params": f"b-adapt=0:{pyramid}"}
    source = make_video(tmp_path / "source.mp4", moving(FRAMES), name, codec_options=options)
    with av.open(str(source)) as container:
        times = [packet.pts for packet in container.demux(video=0) if packet.size]

    def swap(number, packet):
        packet.pts = times[{first: first + 1, first + 1: first}.get(number, number)] + 4096
        packet.dts = 512 * number

    path = remux(source, tmp_path / f"swapped.{extension}", swap)
    everything = decode_all(path)
    for numbers in [[1], [2], [3], [4], *CHOICES]:
        assert_equal_to(everything, path, numbers)


@pytest.mark.parametrize("name", ["vp9.webm"])
def test_a_clock_that_jumps_back(make, tmp_path, name):
    def jump(number, packet):
        packet.dts = number
        packet.pts = number + (40 * number if number < 30 else 40 * (number - 30) + 20)

    path = remux(make(name)[0], tmp_path / "clock.mkv", jump)
    everything = pyav_all(path)
    for numbers in CHOICES:
        assert_equal_to(everything, path, numbers)


@pytest.mark.parametrize("extension", ["mp4", "mkv", "avi"])
def test_interlaced_mpeg4(tmp_path, extension):
    options = {"g": "12", "bf": "2", "flags": "+ilme+ildct"}
    path = make_video(tmp_path / f"v.{extension}", moving(FRAMES), "mpeg4", codec_options=options)
    assert unclear(path) == "interlaced coding"
    everything = pyav_all(path)
    for number in range(FRAMES):
        assert_equal_to(everything, path, [number])
    with PacketVideo(path) as video:  # a decoder that has seen something else does not spoil the next full decode
        list(islice(video.decode_all(), 5))
        assert np.array_equal(np.stack(list(map(ToRGB(), video.decode_all()))), everything)


# --- the plan


def table(rows: list[tuple[int, Picture]]) -> PacketTable:
    made = PacketTable()
    for pts, picture in rows:
        made.pts.append(pts)
        made.discards.append(False)
        made.pictures.append(picture)
    return made


START, NEEDED, LEAF = Picture(True, True, (0, 0)), Picture(False, True, (0, 0)), Picture(False, False, (0, 0))


def test_plan_of_two_groups():
    rows = table([(0, START), (3, NEEDED), (1, LEAF), (2, LEAF), (4, START), (7, NEEDED), (5, LEAF), (6, LEAF)])
    assert plan(rows, [0]) == [(0, 0, frozenset())]
    assert plan(rows, [3]) == [(0, 3, {2})]
    assert plan(rows, [5]) == [(4, 5, frozenset())]
    assert plan(rows, [2, 7]) == [(0, 2, frozenset()), (4, 7, {6})]
    assert plan(rows, [3, 4]) == [(0, 4, {2})]  # without a break


def test_plan_of_a_leading_picture_starts_a_group_earlier():
    rows = table([(0, START), (1, NEEDED), (4, START), (2, LEAF), (3, LEAF), (5, NEEDED)])
    assert plan(rows, [3]) == [(0, 3, frozenset())]
    assert plan(rows, [5]) == [(2, 5, {3, 4})]


def test_plan_keeps_parameter_sets_and_starts_where_they_are():
    with_sets = Picture(True, True, (0, 0), 0, 3)
    rows = table([(0, with_sets), (1, START), (2, with_sets), (3, Picture(False, False, (0, 0), 0, 1)), (4, NEEDED)])
    assert plan(rows, [1]) == [(0, 1, frozenset())]
    assert plan(rows, [4]) == [(2, 4, frozenset())]


def test_plan_leaves_out_only_the_top_layer():
    rows = table(
        [
            (0, START),
            (8, Picture(False, True, (0, 0), 0)),
            (4, Picture(False, False, (0, 0), 1)),
            (2, Picture(False, False, (0, 0), 2)),
        ]
    )
    rows.pts.append(9)
    rows.discards.append(False)
    rows.pictures.append(NEEDED)
    assert plan(rows, [4]) == [(0, 4, {3})]


@settings(deadline=None)
@example([0], [0])
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=30),
    st.lists(st.integers(0, 29), min_size=1, max_size=6),
)
def test_plan_covers_what_is_wanted_once_and_in_order(kinds, wanted):
    pictures = [START, *([START, NEEDED, LEAF, NEEDED][kind] for kind in kinds)]
    wanted = [place % len(pictures) for place in wanted]
    runs = plan(table(list(enumerate(pictures))), wanted)
    fed = [place for run in runs for place in range(run.first, run.last + 1) if place not in run.left_out]
    assert fed == sorted(set(fed)) and set(wanted) <= set(fed)
    assert all(pictures[run.first].start and run.last in wanted for run in runs)
    for place in wanted:  # every needed picture since the last start
        start = max(p for p in range(place + 1) if pictures[p].start)
        assert {p for p in range(start, place) if pictures[p].needed} <= set(fed)


def test_levels_come_out_in_order(tmp_path):
    path = make_video(tmp_path / "v.mp4", levels(40, 32, 32, first=40), codec_options={"g": "10"})
    frames = decode_video(path, lambda count: [30, 5, 39]).frames
    assert [abs(int(frame.mean()) - value) <= 2 for frame, value in zip(frames, (70, 45, 79))] == [True] * 3
