"""Annotated videos: what is drawn when, the frames' times, odd sources, and files that cannot be read or written."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import MATRICES, make_audio, make_video, moving, remux, set_display_matrix, zero_packets

from video_zoo.datareader.decode import decode_video
from video_zoo.datareader.rgb import upright
from video_zoo.engine import annotate as module
from video_zoo.engine import overlay
from video_zoo.engine.annotate import AnnotateError, annotate
from video_zoo.engine.overlay import CLASSES, Overlay, draw_classes
from video_zoo.engine.results import Prediction
from video_zoo.utils.errors import InputError

NAMES = [
    "surfing water",
    "playing a very long name of a class that goes on and on for ever and ever",
    "zwölf 漢字\n",
    "",
]
WHOLE = Prediction("a.mp4", [0, 1, 2, 3], [0.75, 0.125, 0.1, 0.01])
GREY = np.full((50, 120, 160, 3), 128, np.uint8)


def read(path: Path) -> tuple[np.ndarray, list[float]]:
    """RGB frames (T, H, W, 3), upright, and their times in seconds."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    images = [upright(frame.to_ndarray(format="rgb24"), frame) for frame in frames]
    return np.stack(images), [float(frame.pts * frame.time_base) for frame in frames]


def box_of(prediction: Prediction, height: int, width: int) -> tuple[slice, slice]:
    rows, columns, *_ = Overlay.of(prediction, NAMES, height, width).parts[0]
    return rows, columns


# --- when


def test_predictions_are_shown_while_their_spans_last(tmp_path):
    """Of two at once, the one that began last; between them, nothing."""
    source = make_video(tmp_path / "a.mp4", GREY)  # 2 s
    spans = [(0.0, 0.4), (0.2, 0.6), (1.2, 1.6)]
    predictions = [Prediction("a.mp4", [n], [(0.1, 0.5, 0.9)[n]], span) for n, span in enumerate(spans)]
    assert annotate(source, tmp_path / "out/b.mp4", predictions[::-1], NAMES) is None
    frames, times = read(tmp_path / "out/b.mp4")
    assert times == pytest.approx([n / 25 for n in range(50)])
    expected = [0] * 5 + [1] * 10 + [None] * 15 + [2] * 10 + [None] * 10
    shown = []
    for frame in frames.astype(int):
        grey = np.full(frame.shape, 128)
        choices = {None: grey}
        for number, prediction in enumerate(predictions):
            image = draw_classes(prediction, NAMES, 120, 160)
            drawn, (rows, columns) = grey.copy(), box_of(prediction, 120, 160)
            rgba = np.asarray(image).astype(float)
            drawn[rows, columns] += ((rgba[..., :3] - 128) * rgba[..., 3:] / 255).astype(int)
            choices[number] = drawn
        distances = {number: np.abs(frame - drawn).mean() for number, drawn in choices.items()}
        shown.append(min(distances, key=distances.__getitem__))
        assert distances[shown[-1]] < 3
    assert shown == expected


times = st.integers(0, 40).map(lambda value: value / 4)


@settings(deadline=None)
@given(st.lists(st.tuples(times, times) | st.none(), max_size=6), st.lists(times, max_size=20))
def test_the_one_that_began_last_is_shown(spans, moments):
    predictions = [Prediction(str(n), [0], [1.0], span) for n, span in enumerate(spans)]
    schedule = module._Schedule(predictions)
    for moment in sorted(moments):
        there = [each for each in predictions if each.span is None or each.span[0] <= moment < each.span[1]]
        shown = schedule.at(moment)
        assert (shown is None) == (not there)
        if there:
            begins = [each.span[0] if each.span else -1 for each in there]
            assert shown in there and (shown.span[0] if shown.span else -1) == max(begins)


@pytest.mark.parametrize("frame", range(1, 30))
def test_spans_in_whole_milliseconds_meet_their_frames(frame):
    """A window that begins at frame 2 of 29.97 a second, 0.066733 s, is written as 0.067 s."""
    times = [n * 1001 / 30000 for n in range(32)]
    span = (round(times[frame], 3), round(times[frame + 1], 3))
    schedule = module._Schedule([Prediction("a", [0], [1.0], span)])
    assert [bool(schedule.at(time)) for time in times] == [n == frame for n in range(32)]


# --- the pictures


@pytest.mark.parametrize(("height", "width"), [(120, 160), (121, 161), (64, 97), (16, 20), (2, 2), (3, 64)])
def test_any_size_is_drawn_into_a_corner(tmp_path, height, width):
    frames = moving(6, 136, 176)[:, :height, :width]
    codec, pix_fmt = ("ffv1", "yuv444p") if height % 2 or width % 2 else ("libx264", "yuv420p")
    source = make_video(tmp_path / "a.mkv", frames, codec, pix_fmt=pix_fmt)
    assert annotate(source, tmp_path / "b.mp4", [WHOLE], NAMES) is None
    before, (after, _) = read(source)[0], read(tmp_path / "b.mp4")
    assert after.shape == (6, height // 2 * 2, width // 2 * 2, 3)
    rows, columns = box_of(WHOLE, *after.shape[1:3])
    assert 0 <= rows.start < rows.stop <= after.shape[1] and 0 <= columns.start < columns.stop <= after.shape[2]
    difference = np.abs(before[:, : after.shape[1], : after.shape[2]].astype(int) - after).mean(axis=(0, 3))
    assert difference[rows, columns].mean() > 20
    difference[max(rows.start - 4, 0) : rows.stop + 4, max(columns.start - 4, 0) : columns.stop + 4] = 0
    if not (height % 2 or width % 2):  # else it was scaled
        assert difference.mean() < 4


@pytest.mark.parametrize("matrix", MATRICES)
def test_a_turned_or_mirrored_video_is_upright_and_the_text_too(tmp_path, matrix):
    corner = np.full((4, 128, 192, 3), 40, np.uint8)
    corner[:, 64:, 96:] = (220, 60, 60)
    source = set_display_matrix(make_video(tmp_path / "a.mp4", corner), *matrix)
    annotate(source, tmp_path / "b.mp4", [WHOLE], NAMES)
    before, (after, _) = read(source)[0], read(tmp_path / "b.mp4")
    assert after.shape == before.shape == (4, *((128, 192) if matrix[0] else (192, 128)), 3)
    rows, columns = box_of(WHOLE, *after.shape[1:3])
    assert rows.start < 10 and columns.start < 10
    difference = np.abs(before.astype(int) - after).mean(axis=(0, 3))
    assert difference[rows.stop + 4 :].mean() < 3 and difference[rows, columns].mean() > 10
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert "DISPLAYMATRIX" not in next(container.decode(video=0)).side_data


def test_the_box_is_blended_as_it_was_drawn():
    """In all three planes, to two levels, for any picture behind it."""
    rng = np.random.default_rng(0)
    image = draw_classes(WHOLE, NAMES, 240, 320)
    overlay_, before = Overlay.of(WHOLE, NAMES, 240, 320), rng.integers(0, 256, (360, 320), dtype=np.uint8)
    after = before.copy()
    overlay_.blend(after)
    (rows, columns), alpha = box_of(WHOLE, 240, 320), np.asarray(image)[..., 3] / 255
    rgb = np.asarray(image)[..., :3].astype(float)
    luma = 16 + rgb @ (np.array([65.481, 128.553, 24.966]) / 255)
    expected = before[rows, columns] * (1 - alpha) + luma * alpha
    np.testing.assert_allclose(after[rows, columns], expected, atol=2)
    untouched = np.ones((240, 320), bool)
    untouched[rows, columns] = False
    assert np.array_equal(after[:240][untouched], before[:240][untouched])
    assert not np.array_equal(after[240:], before[240:])


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 400).map(lambda half: 2 * half),
    st.integers(1, 400).map(lambda half: 2 * half),
    st.lists(st.text(max_size=60), min_size=4, max_size=4),
    st.integers(0, 4),
)
def test_a_box_fits_any_picture(height, width, names, count):
    prediction = Prediction("a", list(range(count)), [1.0, 0.5, 0.001, 0.0][:count])
    pixels = np.full((height * 3 // 2, width), 90, np.uint8)
    Overlay.of(prediction, names, height, width).blend(pixels)
    assert pixels.shape == (height * 3 // 2, width)


def test_bars_are_as_long_as_the_probabilities():
    image = np.asarray(draw_classes(WHOLE, NAMES, 480, 640))
    track = (image == overlay._TRACK).all(axis=2).sum(axis=1)
    filled = [(image == color).all(axis=2).sum(axis=1) for color in overlay._BARS]
    full = (track + filled[0] + filled[1]).max()
    assert filled[0].max() / full == pytest.approx(0.75, abs=0.01)
    assert filled[1].max() / full == pytest.approx(0.125, abs=0.01)
    assert len(np.flatnonzero(np.diff((track > full / 20).astype(int)) == 1)) == CLASSES


def test_without_fonts_there_is_text_all_the_same(monkeypatch):
    monkeypatch.setattr(overlay, "FONTS", ())
    monkeypatch.setattr(overlay, "EAST_ASIAN_FONTS", ())
    overlay._find_font.cache_clear()
    try:
        image = np.asarray(draw_classes(Prediction("a", [2, 0], [0.0, 0.0]), NAMES, 480, 640))
    finally:
        overlay._find_font.cache_clear()
    assert (image == overlay._FIRST).all(axis=2).sum() > 50


def test_east_asian_names_take_a_font_that_has_them(monkeypatch):
    asked = []

    def truetype(font, *others, **keys):
        if not isinstance(font, str):
            return real(font, *others, **keys)  # Pillow's own
        asked.append(font)
        raise OSError("no such font")

    real = overlay.ImageFont.truetype
    monkeypatch.setattr(overlay.ImageFont, "truetype", truetype)
    overlay._find_font.cache_clear()
    try:
        overlay._font("surfing", 20)
        assert asked == list(overlay.FONTS)
        overlay._font("滑雪", 20)
    finally:
        overlay._find_font.cache_clear()
    assert asked[len(overlay.FONTS)] == overlay.EAST_ASIAN_FONTS[0]


# --- the file


def test_the_file_is_an_mp4_for_any_player(tmp_path):
    source = make_video(tmp_path / "a.avi", moving(30), "mpeg4")
    annotate(source, tmp_path / "b.mp4", [WHOLE], NAMES)
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert "mp4" in container.format.name and not container.streams.audio
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 25)
    data = (tmp_path / "b.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # a browser plays it before it has all of it
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.avi", "b.mp4"]
    assert (tmp_path / "b.mp4").stat().st_mode & 0o777 == source.stat().st_mode & 0o777


def with_sound(path: Path, codec: str, clock_s: float = 0.0, frames: int = 50) -> Path:
    """Grey pictures, 25 a second, and as long a tone, 48000 samples a second; both begin at `clock_s`."""
    with av.open(str(path), "w") as container:
        picture, sound = container.add_stream("libx264", rate=25), container.add_stream(codec, rate=48000)
        picture.height, picture.width, picture.pix_fmt = 120, 160, "yuv420p"
        sound.layout = "mono"
        resampler = av.AudioResampler(sound.format, "mono", 48000)
        for number in range(frames):
            image = av.VideoFrame.from_ndarray(GREY[0], format="rgb24")
            image.pts, image.time_base = number + round(25 * clock_s), Fraction(1, 25)
            container.mux(picture.encode(image))
            moments = np.arange(1920 * number, 1920 * (number + 1)) / 48000
            tone = av.AudioFrame.from_ndarray(np.sin(2765 * moments)[None].astype(np.float32) / 2, "fltp", "mono")
            tone.rate, tone.time_base = 48000, Fraction(1, 48000)
            tone.pts = 1920 * number + round(48000 * clock_s)
            for part in resampler.resample(tone):
                container.mux(sound.encode(part))
        container.mux(picture.encode())
        container.mux(sound.encode())
    return path


def sound_of(path: Path) -> tuple[list[bytes], list[float]]:
    """The packets of the sound, and their times in seconds."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.size]
    return [bytes(packet) for packet in packets], [float(packet.pts * packet.time_base) for packet in packets]


@pytest.mark.parametrize(
    "name, codec", [("a.mp4", "aac"), ("a.mkv", "flac"), ("a.ts", "aac"), ("a.avi", "ac3"), ("a.mov", "mp3")]
)
def test_the_sound_is_copied_at_its_times(tmp_path, log, name, codec):
    """Also where the clock of the source does not begin at 0, and packets have another head in it (MPEG-TS)."""
    source = with_sound(tmp_path / name, codec, 0.0 if name.endswith("avi") else 7.0)
    assert annotate(source, tmp_path / "b.mp4", [WHOLE], NAMES) is None
    assert len(read(tmp_path / "b.mp4")[1]) == 50 and read(tmp_path / "b.mp4")[1][0] == 0
    (before, was), (after, times) = sound_of(source), sound_of(tmp_path / "b.mp4")
    assert len(before) - 2 <= len(after) <= len(before) and "sound" not in log.text
    heads = {len(one) - len(other) for one, other in zip(before[::-1], after[::-1])}
    assert all(one.endswith(other) for one, other in zip(before[::-1], after[::-1])) and len(heads) == 1
    with av.open(str(source)) as container:
        begin_s = float(next(container.decode(video=0)).time)
    assert times[-1] == pytest.approx(was[-1] - begin_s, abs=0.04 if name == "a.avi" else 0.003)  # its clock is coarse


def test_sound_that_no_mp4_takes_is_said(tmp_path, log):
    source = with_sound(tmp_path / "a.mkv", "pcm_s16le")
    assert annotate(source, tmp_path / "b.mp4", [WHOLE], NAMES) is None
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert not container.streams.audio and len(read(tmp_path / "b.mp4")[1]) == 50
    assert "its sound is not in the annotated video, or not all of it: an mp4 takes no pcm_s16le" in log.text


def test_of_a_damaged_video_the_sound_ends_with_the_pictures(tmp_path):
    source = with_sound(tmp_path / "a.mp4", "aac")
    source.write_bytes(zero_packets(source, [25], 40))
    assert annotate(source, tmp_path / "b.mp4", [WHOLE], NAMES)
    pictures, (_, times) = read(tmp_path / "b.mp4")[1], sound_of(tmp_path / "b.mp4")
    assert pictures and times and pictures[-1] < 1.5 and times[-1] <= pictures[-1]


def test_irregular_times_stay_and_count_from_the_first_frame(tmp_path):
    milliseconds = [0, 40, 100, 110, 500, 1200, 1233, 2000]
    source = make_video(tmp_path / "a.mkv", moving(8), times_ms=[1000 + value for value in milliseconds])
    late = Prediction("a", [0], [1.0], (1.2, 2.0))
    annotate(source, tmp_path / "b.mp4", [late], NAMES)
    before, (after, times) = read(source)[0], read(tmp_path / "b.mp4")
    assert times == pytest.approx([value / 1000 for value in milliseconds], abs=0.0011)
    rows, columns = box_of(late, 64, 96)
    difference = np.abs(before.astype(int) - after)[:, rows, columns].mean(axis=(1, 2, 3))
    assert [value > 15 for value in difference] == [False] * 5 + [True] * 2 + [False]


def test_pixels_that_are_not_square_stay_so(tmp_path):
    def set_up(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    path = make_video(tmp_path / "a.mp4", moving(4), set_up=set_up)
    annotate(path, tmp_path / "b.mp4", [WHOLE], NAMES)
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


@pytest.mark.parametrize("name", ["a:b.mp4", "ü 漢 %d [x] *.mp4", "file,|concat.mp4"])
def test_odd_names(tmp_path, name):
    source = make_video(tmp_path / "plain.mp4", GREY[:3]).rename(tmp_path / name)
    target = tmp_path / "out" / name
    target.parent.mkdir()
    leftover = target.with_name(".zoo_00001234.tmp")  # of a process that was killed
    leftover.touch()
    annotate(source, target, [WHOLE], NAMES)
    assert len(read(target)[0]) == 3 and not leftover.exists()


def test_names_as_long_as_the_file_system_takes(tmp_path):
    """The extension of a source may be shorter than ours."""
    source = make_video(tmp_path / "plain.mp4", GREY[:3])
    videos = {name: tmp_path / name for name in ("漢" * 83 + "ab.mp4", "漢" * 83 + "abc.ts", "漢" * 83 + "abd.ts")}
    for path in videos.values():
        os.link(source, path)
    rows = [dataclasses.replace(WHOLE, video_id=name) for name in videos]
    annotator = module.Annotator(videos, tmp_path / "out")
    annotator.annotate_all(rows, NAMES)
    annotator.check_failures()
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(names) == 3 and "漢" * 83 + "ab.mp4" in names and all(name.startswith("漢" * 80) for name in names)


# --- what goes wrong


def test_of_a_damaged_video_the_frames_before_the_damage_are_kept(tmp_path):
    codec_options = {"g": "10", "bf": "0"}
    source = make_video(tmp_path / "a.mp4", moving(40, 128, 192), codec_options=codec_options)
    source.write_bytes(zero_packets(source, [20], 60))
    damage = annotate(source, tmp_path / "b.mp4", [WHOLE], NAMES)
    frames, _ = read(tmp_path / "b.mp4")
    assert damage and 18 <= len(frames) <= 20
    clean = read(make_video(tmp_path / "clean.mp4", moving(40, 128, 192), codec_options=codec_options))[0][
        : len(frames)
    ]
    rows, _ = box_of(WHOLE, *clean.shape[1:3])
    assert np.abs(frames.astype(int) - clean)[:, rows.stop + 4 :].mean() < 6


def test_where_the_reader_passes_over_damage_the_annotated_video_does(tmp_path):
    source = make_video(tmp_path / "a.mp4", moving(40), codec_options={"g": "10", "bf": "0"})
    source.write_bytes(zero_packets(source, [20], 60))
    assert annotate(source, tmp_path / "b.mp4", [WHOLE], NAMES, "opencv") is None
    frames, _ = read(tmp_path / "b.mp4")
    assert len(frames) == decode_video(source, lambda count: [], decoder="opencv").num_frames > 30


def test_a_video_that_begins_in_the_middle(tmp_path):
    """Packets before the first keyframe are no damage."""
    whole = make_video(tmp_path / "whole.ts", moving(40), codec_options={"g": "20", "bf": "0"})
    source = remux(whole, tmp_path / "a.ts", lambda number, packet: False if number < 5 else None)
    assert annotate(source, tmp_path / "b.mp4", [WHOLE], NAMES) is None
    assert len(read(tmp_path / "b.mp4")[0]) == 20


def text(path: Path) -> Path:
    path.write_text("no video")
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def playlist(path: Path) -> Path:
    make_video(path.with_suffix(".ts"), GREY[:3])
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{path.with_suffix('.ts').name}\n#EXT-X-ENDLIST\n")
    return path


def damaged_at_once(path: Path) -> Path:
    source = make_video(path, moving(10), codec_options={"g": "10", "bf": "0"})
    source.write_bytes(zero_packets(source, range(10), 30))
    return source


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path, "No such file"),
        (text, "it is no video"),
        (folder, "Is a directory"),
        (lambda path: make_audio(path.with_suffix(".m4a")), "there is no video in it"),
        (lambda path: playlist(path.with_suffix(".m3u8")), "a list of other files|it is no video"),
        (damaged_at_once, "not one frame can be decoded"),
    ],
)
def test_what_cannot_be_annotated_is_named_and_leaves_nothing(tmp_path, make, message):
    source = make(tmp_path / "source.mp4")
    target = tmp_path / "out/b.mp4"
    target.parent.mkdir()
    target.write_text("old")
    with pytest.raises(AnnotateError, match=f"{source}: .*({message})"):
        annotate(source, target, [WHOLE], NAMES)
    assert [path.name for path in target.parent.iterdir()] == ["b.mp4"] and target.read_text() == "old"


def test_the_video_itself_is_not_overwritten(tmp_path):
    source = make_video(tmp_path / "a.mp4", GREY[:3])
    (tmp_path / "link.mp4").symlink_to("a.mp4")
    before = source.read_bytes()
    for target in (source, tmp_path / "link.mp4"):
        with pytest.raises(InputError, match="is the video itself"):
            annotate(source, target, [WHOLE], NAMES)
    assert source.read_bytes() == before


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_no_room_is_not_the_videos_fault(tmp_path, monkeypatch, code):
    source = make_video(tmp_path / "a.mp4", GREY[:3])

    def no_room(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "replace", no_room)
    with pytest.raises(InputError, match=f"cannot write {tmp_path}/b.mp4: {os.strerror(code)}") as caught:
        annotate(source, tmp_path / "b.mp4", [WHOLE], NAMES)
    assert not isinstance(caught.value, AnnotateError)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_an_encoder_that_fails_names_the_video(tmp_path, monkeypatch):
    source = make_video(tmp_path / "a.mp4", GREY[:3])

    def fail(*_):
        raise av.error.ExternalError(errno.EIO, "Generic error in an external library")

    monkeypatch.setattr(module.Transcoder, "add", fail)
    with pytest.raises(AnnotateError, match=f"{source}: cannot be annotated: Generic error"):
        annotate(source, tmp_path / "b.mp4", [WHOLE], NAMES)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_an_interrupt_leaves_nothing(tmp_path, monkeypatch):
    source = make_video(tmp_path / "a.mp4", GREY[:3])

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Overlay, "blend", interrupt)
    with contextlib.suppress(KeyboardInterrupt):
        annotate(source, tmp_path / "b.mp4", [WHOLE], NAMES)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("room", [0, 3000])
def test_a_full_disk_is_one_message_and_no_crash(tmp_path, room):
    """In a process of its own: FFmpeg's muxer crashes if it is used after its head could not be written."""
    source = make_video(tmp_path / "a.mp4", moving(40))
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from video_zoo.engine.annotate import annotate\n"
        "from video_zoo.engine.results import Prediction\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))\n"
        "try:\n"
        "    annotate(Path(sys.argv[1]), Path(sys.argv[2]), [Prediction('a', [0], [1.0])], ['left'])\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    command = [sys.executable, "-c", script, str(source), str(tmp_path / "out/a.mp4")]
    done = subprocess.run(command, cwd=Path(__file__).resolve().parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("InputError cannot write ") and "File too large" in done.stdout
    assert not list((tmp_path / "out").iterdir())
