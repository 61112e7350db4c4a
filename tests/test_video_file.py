"""Which stream of a file is read, and MPEG-TS files that were joined from several or lost something on the way."""

from __future__ import annotations

import functools
import struct
from pathlib import Path
from typing import Callable

import av
import numpy as np
import pytest
from media import LISTS, decode_all, encode_images, make_config, make_video, moving, noise, remux

from video_zoo.datareader.containers import transport_packets_lost
from video_zoo.datareader.decode import VideoError, decode_video
from video_zoo.datareader.live import _frames_of_address
from video_zoo.datareader.sampling import Windows
from video_zoo.datareader.selective import PacketVideo
from video_zoo.datareader.views import views_of
from video_zoo.datareader.windowed_video import WindowedVideo
from video_zoo.dataset.kinetics.jpeg_pickles import Job, convert
from video_zoo.dataset.video_encode import Form, prepare
from video_zoo.dataset.video_probe import examine
from video_zoo.engine.annotate import annotate

FRAMES, GOP, PID = 48, 12, 256
CODECS = {
    "libx264": {"g": str(GOP)},
    "libx265": {"x265-params": f"keyint={GOP}:open-gop=0:log-level=none:pools=none"},
    "mpeg4": {"g": str(GOP), "bf": "2"},
    "mpeg2video": {"g": str(GOP), "bf": "2"},
}


def box(name: bytes, content: bytes) -> bytes:
    """A box of an MP4 file."""
    return struct.pack(">I4s", 8 + len(content), name) + content


def with_cover(data: bytes, picture: bytes) -> bytes:
    """An MP4 file with a cover picture (PNG) that comes before its streams."""
    cover = box(b"covr", box(b"data", b"\0\0\0\x0e" + bytes(4) + picture))
    handler = box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    tags = box(b"udta", box(b"meta", bytes(4) + handler + box(b"ilst", cover)))
    moov = data.rindex(b"moov") - 4
    return data[:moov] + box(b"moov", tags + data[moov + 8 :])


def test_a_cover_picture_that_comes_first_is_not_the_video(tmp_path):
    plain = make_video(tmp_path / "plain.mp4", moving(FRAMES), codec_options={"g": "12"})
    path = tmp_path / "cover.mp4"
    path.write_bytes(with_cover(plain.read_bytes(), encode_images(moving(1))[0]))
    with av.open(str(path)) as container:
        assert [stream.codec_context.name for stream in container.streams.video] == ["png", "h264"]
    with PacketVideo(path) as video:
        assert video.codec == "h264" and video.table.unclear is None
        assert len(list(video.decode_all())) == FRAMES
    numbers = [0, 17, 47]
    decoded = decode_video(path, lambda count: numbers)
    assert decoded.num_frames == FRAMES
    assert np.array_equal(decoded.frames, decode_all(plain)[numbers])


def test_a_title_in_any_encoding(tmp_path):
    plain = make_video(tmp_path / "a.mkv", moving(4), set_up=lambda stream: stream.metadata.update(title="abcd"))
    path = tmp_path / "latin.mkv"
    path.write_bytes(plain.read_bytes().replace(b"abcd", b"\xe9\xe8\xe0\xfc"))
    assert path.read_bytes() != plain.read_bytes()
    for decoder in ("pyav", "opencv"):
        assert np.array_equal(decode_video(path, range, decoder=decoder).frames, decode_all(plain))


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_other_files_is_refused_by_whatever_opens_a_video(tmp_path, name):
    make_video(tmp_path / "a.ts", moving(8))
    path = tmp_path / name
    path.write_text(LISTS[name])
    view = views_of(make_config("test", "none"), "test", "center_crop")[0]
    form = Form(short_size=32, gop=6, crf=10)
    openers = [
        *(lambda d=decoder: decode_video(path, range, decoder=d) for decoder in ("auto", "pyav", "opencv")),
        *(lambda d=decoder: WindowedVideo(path, d, Windows(1, 1), view) for decoder in ("auto", "pyav", "opencv")),
        lambda: prepare(str(path), str(tmp_path / "out/a.mp4"), str(tmp_path / "out.mp4"), form),
    ]
    for opens in openers:
        with pytest.raises(VideoError, match="a list of other files|it is no video"):
            opens()
    for quick in (False, True):
        assert examine(str(path), 8, quick).status == "unreadable"
    status, reason = convert(Job(str(path), str(tmp_path / "a.pkl"), "a", 0, 95))
    assert status == "unreadable" and ("other files" in reason or "no video" in reason)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.ts", name]


def with_late_sound(path: Path) -> Path:
    """A TS or MPG file of 503 pictures, of which sound goes with three in the middle."""
    many = {"qmin": "1", "qmax": "1"}  # bytes: FFmpeg looks at 7 seconds at the beginning, and at 250 kB at the end
    silent = make_video(path.with_name(f"silent{path.suffix}"), noise(250, 32, 48), "mpeg2video", codec_options=many)
    loud = path.with_name(f"loud{path.suffix}")
    with av.open(str(loud), "w") as container:
        picture, sound = container.add_stream("mpeg2video", rate=25), container.add_stream("mp2", rate=44100)
        picture.height, picture.width, picture.pix_fmt, sound.layout = 32, 48, "yuv420p", "mono"
        for image in noise(3, 32, 48):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.int16), format="s16", layout="mono")
        tone.rate = 44100
        for packets in (sound.encode(tone), picture.encode(), sound.encode()):
            container.mux(packets)
    path.write_bytes(silent.read_bytes() + loud.read_bytes() + silent.read_bytes())
    return path


# --- MPEG-TS


class Transport:
    """A TS file as its packets of 188 bytes, to be joined, renumbered and lost."""

    def __init__(self, path: Path):
        data = path.read_bytes()
        self.packets = [bytearray(data[place : place + 188]) for place in range(0, len(data), 188)]

    def of_stream(self) -> list[int]:
        """Places of the video's packets."""
        return [place for place, head in enumerate(self.packets) if (head[1] & 31) << 8 | head[2] == PID]

    def pictures(self) -> list[int]:
        """Places of the packets that a picture begins in."""
        return [place for place in self.of_stream() if self.packets[place][1] & 0x40]

    def jump(self, first: int, step: int) -> None:
        """The continuity counter jumps before the packet at `first`."""
        for place in self.of_stream():
            if place >= first:
                self.packets[place][3] = self.packets[place][3] & 0xF0 | (self.packets[place][3] + step) & 15

    def write(self, path: Path) -> Path:
        path.write_bytes(b"".join(self.packets))
        return path


@pytest.fixture(scope="module", params=CODECS)
def recording(request, tmp_path_factory) -> tuple[Path, np.ndarray]:
    """A TS file and its frames."""
    path = tmp_path_factory.mktemp("ts") / f"{request.param}.ts"
    make_video(path, moving(FRAMES), request.param, codec_options=CODECS[request.param])
    return path, np.stack(decode_video(path, range).frames)


def test_a_counter_that_jumps_between_two_pictures(recording, tmp_path):
    path, everything = recording
    for number, step in ((5, 3), (GOP, 7), (29, 14)):
        transport = Transport(path)
        transport.jump(transport.pictures()[number], step)
        jumped = transport.write(tmp_path / "jumped.ts")
        assert not transport_packets_lost(jumped, PID)
        decoded = decode_video(jumped, range)
        assert decoded.damage is None and np.array_equal(decoded.frames, everything)
        for numbers in ([3], [20, 40], [FRAMES - 1]):
            assert np.array_equal(decode_video(jumped, lambda count: numbers).frames, everything[numbers])  # noqa: B023


def test_recordings_joined_with_cat(recording, tmp_path):
    """Their times jump back, too."""
    path, everything = recording
    joined = tmp_path / "joined.ts"
    joined.write_bytes(2 * path.read_bytes())
    decoded = decode_video(joined, range)
    assert decoded.damage is None and decoded.num_frames == 2 * FRAMES
    assert np.array_equal(decoded.frames, np.concatenate([everything, everything]))


def test_lost_transport_packets_are_damage(recording, tmp_path):
    path, everything = recording
    pictures = Transport(path).pictures()
    large = [number for number, (first, end) in enumerate(zip(pictures, pictures[1:])) if end - first > 5]
    for number in (large[1], large[-1]):
        transport = Transport(path)
        del transport.packets[pictures[number] + 2]
        lossy = transport.write(tmp_path / "lossy.ts")
        assert transport_packets_lost(lossy, PID)
        decoded = decode_video(lossy, range)
        assert decoded.damage == "a packet is cut off"
        assert 0 < decoded.num_frames <= number
        assert np.array_equal(decoded.frames, everything[: decoded.num_frames])


@pytest.mark.parametrize("first, end", [(GOP, 2 * GOP), (15, 16), (20, 30)])
def test_missing_pictures_are_damage(recording, tmp_path, first, end):
    """Whole ones, so that no packet is incomplete."""
    path, everything = recording
    transport = Transport(path)
    pictures, before = transport.pictures(), len(transport.of_stream())
    del transport.packets[pictures[first] : pictures[end]]
    if (before - len(transport.of_stream())) % 16 == 0:
        transport.jump(pictures[first], 1)  # the counter has 4 bits, and would go on as if nothing was lost
    decoded = decode_video(transport.write(tmp_path / "missing.ts"), range)
    assert decoded.damage
    assert 0 < decoded.num_frames <= first and np.array_equal(decoded.frames, everything[: decoded.num_frames])


def test_a_part_that_begins_between_two_keyframes_is_left_out(recording, tmp_path):
    path, everything = recording
    transport = Transport(path)
    transport.packets += transport.packets[transport.pictures()[15] :]
    decoded = decode_video(transport.write(tmp_path / "part.ts"), range)
    assert decoded.damage and 0 < decoded.num_frames <= FRAMES
    assert np.array_equal(decoded.frames, everything[: decoded.num_frames])


FAST, SLOW, UNEVEN = (40,), (80,), (40, 120, 60)  # steps in ms, which come again


@pytest.fixture(scope="module")
def part(tmp_path_factory) -> Callable[..., Path]:
    """A TS file with these steps, whose times begin at so many seconds."""
    folder = tmp_path_factory.mktemp("parts")

    @functools.cache
    def make(steps_ms: tuple[int, ...], frames: int, begin_s: int = 0) -> Path:
        times = 1000 * begin_s + np.cumsum([0, *(steps_ms[number % len(steps_ms)] for number in range(frames - 1))])
        path = folder / f"{steps_ms}{frames}{begin_s}.ts"
        return make_video(path, moving(frames, 32, 48), codec_options={"g": "12", "bf": "2"}, times_ms=times)

    return make


@pytest.mark.parametrize(
    "parts",
    [
        [(SLOW, 30), (FAST, 30)],
        [(FAST, 30), (SLOW, 30)],
        [(FAST, 30), (UNEVEN, 30)],
        [(UNEVEN, 30), (FAST, 12), (SLOW, 4), (FAST, 30)],
        [(FAST, 10, 10), (FAST, 10, 5), (FAST, 10), (FAST, 10, 22)],
        [(FAST, 3), (FAST, 2), (FAST, 1), (FAST, 3)],
    ],
)
def test_joined_recordings_may_differ_in_frame_rate_and_be_short(part, tmp_path, parts):
    paths = [part(*each) for each in parts]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(path.read_bytes() for path in paths))
    decoded = decode_video(joined, range)
    assert decoded.damage is None
    assert np.array_equal(decoded.frames, np.concatenate([decode_video(path, range).frames for path in paths]))


@pytest.mark.parametrize("steps, lost", [(FAST, 15), (SLOW, 18), (UNEVEN, 20)])
def test_pictures_missing_next_to_a_change_of_frame_rate_are_damage(part, tmp_path, steps, lost):
    """The counter jumps twice: where the parts are joined, and where pictures are missing."""
    transport = Transport(part(steps, 30))
    before, pictures = len(transport.of_stream()), transport.pictures()
    del transport.packets[pictures[lost] : pictures[lost + 5]]
    if (before - len(transport.of_stream())) % 16 == 0:
        transport.jump(pictures[lost], 1)
    transport.packets += Transport(part(SLOW if steps is FAST else FAST, 30)).packets
    decoded = decode_video(transport.write(tmp_path / "missing.ts"), range)
    assert decoded.damage and 0 < decoded.num_frames <= lost


@pytest.mark.parametrize(
    "before, behind, tail", [(b"", b"", b"\x47tail"), (b"time", b"", b""), (b"", b"x" * 16, b""), (b"time", b"", b"t")]
)
def test_packets_of_any_size(part, tmp_path, before, behind, tail):
    """M2TS has 4 bytes before each packet, DVB 16 behind; the last packet may be incomplete."""
    transport = Transport(part(FAST, 30))
    pictures = transport.pictures()
    whole, lossy = (2 * transport.packets for _ in range(2))
    del lossy[pictures[12] + 1]
    for name, packets in (("whole.ts", whole), ("lossy.ts", lossy)):
        (tmp_path / name).write_bytes(b"".join(before + packet + behind for packet in packets) + tail)
    decoded = decode_video(tmp_path / "whole.ts", range)
    assert (decoded.num_frames, decoded.damage) == (60, None)
    assert decode_video(tmp_path / "lossy.ts", range).damage == "a packet is cut off"


@pytest.mark.parametrize("length", [True, False])
def test_a_picture_that_fills_its_last_packet(part, tmp_path, length):
    """Without a length it cannot be told from one that is cut off."""
    joined, lost = tmp_path / "joined.ts", []
    options = {"omit_video_pes_length": str(int(not length))}
    for more in range(184):

        def fill(number: int, packet: av.Packet) -> bytes | None:
            return bytes(packet) + bytes(400 + more) if number == 5 else None  # noqa: B023

        transport = Transport(remux(part(FAST, 6), tmp_path / "a.ts", fill, options))
        first = b"".join(transport.packets)
        if len(transport.of_stream()) % 16 == 0:
            transport.jump(0, 1)
        joined.write_bytes(first + b"".join(transport.packets))
        lost.append(transport_packets_lost(joined, PID))
        if more == 0 or lost[-1]:
            transport = Transport(joined)
            del transport.packets[transport.of_stream()[transport.of_stream().index(transport.pictures()[6]) - 1]]
            assert transport_packets_lost(transport.write(tmp_path / "cut.ts"), PID)
    assert sum(lost) == 0 if length else 0 < sum(lost) <= 2


@pytest.mark.parametrize("extension", ["ts", "mpg"])
def test_sound_that_begins_on_the_way(tmp_path, extension):
    """PyAV's list of streams is then longer at the end than at the beginning."""
    path = with_late_sound(tmp_path / f"a.{extension}")
    with av.open(str(path)) as container:
        assert len(container.streams) == 1
        with pytest.raises(IndexError):
            list(container.demux(video=0))
    with av.open(str(path)) as container:
        assert sum(1 for _ in _frames_of_address(container, container.streams.video[0])) == 503
    for decoder in ("auto", "opencv"):
        decoded = decode_video(path, lambda count: [0, count - 1], decoder=decoder)
        assert (decoded.num_frames, decoded.damage) == (503, None)
    assert annotate(path, tmp_path / "b.mp4", [], []) is None


def test_files_that_are_no_plain_transport_streams(tmp_path):
    for content in (bytes(188), b"\x47" + bytes(186), b"\x47" + bytes(188)):
        path = tmp_path / "odd.ts"
        path.write_bytes(content)
        assert transport_packets_lost(path, PID)
