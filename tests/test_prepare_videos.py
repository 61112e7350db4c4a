"""dataset/prepare_videos.py: what it writes, what it keeps, what it refuses, and how it is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media import MATRICES, levels, make_audio, make_video, moving, noise, set_display_matrix

ROOT = Path(__file__).resolve().parents[1]
from video_zoo.datareader.decode import VideoError, decode_video
from video_zoo.datareader.selective import PacketVideo
from video_zoo.datareader.video_writer import VideoWriter
from video_zoo.dataset import prepare_videos, video_encode, video_lists
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger

FORM = video_encode.Form(short_size=32, gop=6, crf=10)
FRAMES = 20
NAME = 'yoga/it\'s "naïve" 跳舞.mp4'


def frames_of(path: Path) -> np.ndarray:
    return np.stack(decode_video(path, range).frames)


def encode(source: Path, folder: Path, form: video_encode.Form = FORM) -> tuple[Path, video_encode.Outcome]:
    """Prepares one video in this process."""
    target = folder / "out" / f"{source.stem}.mp4"
    outcome = video_encode.prepare(str(source), str(target), str(folder / "temporary.mp4"), form)
    assert not (folder / "temporary.mp4").exists()
    return target, outcome


@pytest.fixture
def prepare(tmp_path, monkeypatch, capsys):
    """Runs the tool in this process, with the current folder `tmp_path`; returns what it printed."""
    for name in ("handlers", "propagate", "level"):
        monkeypatch.setattr(logger, name, getattr(logger, name))
    monkeypatch.chdir(tmp_path)

    def run(*command: object) -> str:
        flags = ("--workers=0", "--short_size=32", "--gop=6")
        monkeypatch.setattr(sys, "argv", ["prepare_videos.py", *map(str, command), *flags])
        prepare_videos.main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def videos(tmp_path) -> Path:
    """Good videos with difficult names, some of which collide, and broken ones; v.list has them all."""
    folder = tmp_path / "source"
    for name in ("air drumming", "yoga"):
        (folder / name).mkdir(parents=True)
    whole = make_video(folder / "air drumming/a.mp4", noise(FRAMES, 48, 64)).read_bytes()
    make_video(folder / "air drumming/a.avi", noise(FRAMES, 48, 64), "mpeg4")
    make_video(folder / "air drumming/A.MP4", noise(FRAMES, 48, 64), file_format="mp4")
    make_video(folder / NAME, noise(FRAMES, 64, 48))
    (folder / "text.mp4").write_text("no video\n" * 50)
    (folder / "zero.mp4").touch()
    make_audio(folder / "sound.mp4")
    (folder / "cut behind.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    options = {"file_options": {"movflags": "faststart"}, "codec_options": {"g": "4"}}
    front = make_video(folder / "cut in front.mp4", noise(40, 64, 64), **options)
    front.write_bytes(front.read_bytes()[: len(front.read_bytes()) * 2 // 3])
    names = ["air drumming/a.mp4 0", "air drumming/a.avi 0", "air drumming/A.MP4 0", f"{NAME} 1", "text.mp4 0"]
    names += ["zero.mp4 0", "sound.mp4 0", "cut behind.mp4 0", "cut in front.mp4 7", "not there.mp4 0"]
    names += ["air drumming/a.mp4"]
    (folder / "v.list").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return folder


def test_a_data_set_of_good_and_broken_videos(videos, prepare, tmp_path):
    out = prepare("source/v.list", "out")
    names = ["air drumming/a.mp4", "air drumming/a.avi.mp4", "air drumming/A_2.mp4", NAME, "cut in front.mp4"]
    expected = [f"{tmp_path}/out/{name} {label}" for name, label in zip(names, (0, 0, 0, 1, 7))]
    assert (tmp_path / "out/v.list").read_text().splitlines() == [*expected, f"{tmp_path}/out/{names[0]}"]
    there = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert there == {*names, "v.list", "v.problems.txt"}  # and nothing temporary
    problems = (tmp_path / "out/v.problems.txt").read_text().splitlines()
    assert [line.split("\t")[:3] for line in problems] == [
        ["left out", "line 5", "text.mp4"],
        ["left out", "line 6", "zero.mp4"],
        ["left out", "line 7", "sound.mp4"],
        ["left out", "line 8", "cut behind.mp4"],
        ["damaged", "line 9", "cut in front.mp4"],
        ["left out", "line 10", "not there.mp4"],
    ]
    for part in (
        "5 videos written, 0 were there before, 1 of them damaged; 5 left out",
        " MB before, ",
        "10/10 videos",
    ):
        assert part in out
    assert " ms before, " in out and " times as fast (mean of 4 videos" in out


def test_a_list_and_a_video_may_have_names_as_long_as_the_file_system_takes(prepare, tmp_path):
    video, name = f"{'漢' * 83}.avi", f"{'漢' * 83}a.list"  # 253 and 255 bytes
    make_video(tmp_path / video, noise(FRAMES, 48, 64), "mpeg4")
    (tmp_path / name).write_text(f"{video} 0\nnot there.mp4 0\n", encoding="utf-8")
    prepare(name, "out")
    names = [path.name for path in (tmp_path / "out").iterdir()]
    assert name in names and sorted(each.partition("~")[2][8:] for each in names) == ["", ".mp4", ".problems.txt"]
    assert "not there.mp4" in next((tmp_path / "out").glob("*.problems.txt")).read_text(encoding="utf-8")


def test_what_is_written(tmp_path):
    moving = np.stack([np.roll(noise(1, 72, 96)[0], 2 * step, 1) for step in range(FRAMES)])
    source = make_video(tmp_path / "a.mp4", moving, codec_options={"g": "250", "crf": "5"})
    target, outcome = encode(source, tmp_path)
    data = target.read_bytes()
    assert data.find(b"moov") < data.find(b"mdat")
    with PacketVideo(target) as video:
        assert (video.stream.codec_context.name, video.stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert video.table.unclear is None and video.table.num_frames == FRAMES
        starts = [place for place, key in enumerate(video.table.keyframes) if key]
        assert max(np.diff([*starts, FRAMES])) <= FORM.gop
    before, after = frames_of(source), frames_of(target)
    assert after.shape == (FRAMES, 32, 42, 3)
    assert abs(before.mean() - after.mean()) < 1
    assert outcome == video_encode.Outcome(False, None, source.stat().st_size, len(data))


def test_there_is_no_sound(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        picture, sound = container.add_stream("libx264", rate=25), container.add_stream("aac", rate=44100)
        picture.width = picture.height = 32
        picture.pix_fmt = "yuv420p"
        for image in noise(4, 32, 32):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            tone = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            tone.rate = 44100
            container.mux(sound.encode(tone))
        for stream in (picture, sound):
            container.mux(stream.encode())
    with av.open(str(encode(tmp_path / "a.mp4", tmp_path)[0])) as container:
        assert [stream.type for stream in container.streams] == ["video"]


def test_the_times_of_a_variable_rate_are_kept(tmp_path):
    times = [3, 4, 8, 12, 23, 24, 25, 60, 61, 100]
    with VideoWriter(tmp_path / "a.mp4", (32, 32), 25, time_base=Fraction(1, 600)) as writer:
        for image, pts in zip(levels(len(times), 32, 32), times):
            writer.add_pixels(image, pts)
    with av.open(str(encode(tmp_path / "a.mp4", tmp_path)[0])) as container:
        found = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    assert found == [Fraction(time - times[0], 600) for time in times]


@pytest.mark.parametrize("matrix", MATRICES)
def test_a_turned_or_mirrored_video_is_written_upright(tmp_path, matrix):
    corner = np.full((4, 64, 96, 3), 40, np.uint8)
    corner[:, :32, :48] = (220, 60, 60)
    make_video(tmp_path / "a.mp4", corner, set_up=wide_pixels)
    set_display_matrix(tmp_path / "a.mp4", *matrix)
    target, _ = encode(tmp_path / "a.mp4", tmp_path, FORM._replace(short_size=64))
    before, after = frames_of(tmp_path / "a.mp4"), frames_of(target)
    turned = matrix[0] == 0
    assert after.shape == before.shape == (4, *((96, 64) if turned else (64, 96)), 3)
    assert np.abs(before.astype(int) - after).mean() < 2
    with av.open(str(target)) as container:
        assert container.streams.video[0].sample_aspect_ratio == (Fraction(3, 4) if turned else Fraction(4, 3))
        assert "DISPLAYMATRIX" not in next(container.decode(video=0)).side_data


def wide_pixels(stream):
    stream.codec_context.sample_aspect_ratio = Fraction(4, 3)


@pytest.mark.parametrize("extension", ["mp4", "mkv", "ts", "h264"])
def test_pixels_that_are_not_square_stay_so(tmp_path, extension):
    """An mp4 and an mkv file say it themselves, of the others the codec does."""
    make_video(tmp_path / f"a.{extension}", moving(4), set_up=wide_pixels)
    target, _ = encode(tmp_path / f"a.{extension}", tmp_path)
    with av.open(str(target)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.sample_aspect_ratio) == (48, 32, Fraction(4, 3))


def test_an_interlaced_video_is_scaled_like_any_other(tmp_path):
    lossless = {"qp": "0"}
    plain = make_video(tmp_path / "plain.mp4", moving(4), codec_options=lossless)
    marked = make_video(tmp_path / "marked.mp4", moving(4), codec_options={**lossless, "x264-params": "tff=1"})
    with PacketVideo(marked) as video:
        assert next(video.decode_all()).interlaced_frame
    wanted, found = (frames_of(encode(path, tmp_path)[0]) for path in (plain, marked))
    assert np.array_equal(found, wanted)


def test_rows_that_are_upside_down_in_memory(tmp_path):
    source = make_video(tmp_path / "a.avi", moving(4), "amv", pix_fmt="yuvj420p", codec_options={"strict": "-1"})
    target, _ = encode(source, tmp_path, FORM._replace(short_size=64))
    assert np.abs(frames_of(source).astype(int) - frames_of(target)).mean() < 3


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1920, 1080), (456, 256)),
        ((1080, 1920), (256, 456)),
        ((340, 256), (340, 256)),
        ((341, 257), (340, 256)),
        ((101, 75), (100, 74)),
        ((3, 3), (2, 2)),
    ],
)
def test_sizes_are_even_and_nothing_is_enlarged(size, expected):
    assert video_encode.output_size(*size, 256) == expected


@pytest.mark.parametrize(
    "codec, extension", [("mpeg4", "avi"), ("libx264", "ts"), ("ffv1", "mkv"), ("libx264", "h264")]
)
def test_other_formats(tmp_path, codec, extension):
    source = make_video(tmp_path / f"a.{extension}", levels(FRAMES, 32, 32, first=60), codec)
    before, after = frames_of(source), frames_of(encode(source, tmp_path)[0])
    assert np.abs(before.astype(int) - after).max() <= 3  # each frame is in its place


def test_a_second_run_encodes_only_what_changed(videos, prepare, tmp_path):
    prepare("source/v.list", "out")
    first = tmp_path / "out" / NAME
    before = first.stat().st_mtime_ns
    make_video(videos / "air drumming/a.avi", noise(FRAMES + 1, 48, 64, seed=1), "mpeg4")
    (tmp_path / "out/air drumming/a.mp4").unlink()
    assert "2 videos written, 3 were there before, 1 of them damaged; 5 left out" in prepare("source/v.list", "out")
    assert first.stat().st_mtime_ns == before
    assert len(frames_of(tmp_path / "out/air drumming/a.avi.mp4")) == FRAMES + 1
    out = prepare("source/v.list", "out", "--crf=30")
    assert "5 videos written, 0 were there before" in out
    cut = first.read_bytes()
    first.write_bytes(cut[:-50])
    out = prepare("source/v.list", "out", "--crf=30")
    assert "1 videos written, 4 were there before" in out and "nothing was left" not in out
    assert "nothing was left to do" in prepare("source/v.list", "out", "--crf=30")
    assert len(frames_of(first)) == FRAMES


def test_what_must_not_be_overwritten_is_refused(videos, prepare, tmp_path):
    content = {path: path.read_bytes() for path in videos.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="the new list would overwrite source/v.list"):
        prepare("source/v.list", "source")
    with pytest.raises(InputError, match="source/air drumming/a.mp4 is a video of the list and is not overwritten"):
        prepare("source/v.list", "source", "--new_list=new.list")
    (tmp_path / "link").symlink_to("source")
    with pytest.raises(InputError, match="is a video of the list"):
        prepare("source/v.list", "link", "--new_list=new.list")
    make_video(tmp_path / "other.mp4", noise(4, 32, 32))
    (tmp_path / "other.list").write_text("other.mp4 0\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/other.mp4").write_bytes(b"mine")
    with pytest.raises(InputError, match="out/other.mp4 is there and was not written by prepare_videos.py"):
        prepare("other.list", "out")
    assert (tmp_path / "out/other.mp4").read_bytes() == b"mine"
    assert content == {path: path.read_bytes() for path in videos.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "comment",
    [
        *("", "3", "[]", "[" * 100_000, '{"tool": "prepare_videos"}'),
        '{"tool": "other", "source": "a.mp4", "bytes": 1, "mtime_ns": 1, "short_size": 32, "gop": 6, "crf": 10,'
        ' "damage": null}',
        '{"tool": "prepare_videos", "source": ["a.mp4"], "bytes": 1, "mtime_ns": 1, "short_size": 32, "gop": 6,'
        ' "crf": 10, "damage": null}',
        '{"tool": "prepare_videos", "source": "a.mp4", "bytes": 1, "mtime_ns": 1, "short_size": 32, "gop": 6,'
        ' "crf": 10, "damage": {}}',
    ],
    ids=lambda comment: comment[:40],
)
def test_a_video_with_another_comment_is_not_overwritten(tmp_path, comment):
    source = make_video(tmp_path / "a.mp4", noise(4, 32, 32))
    (tmp_path / "out").mkdir()
    with VideoWriter(tmp_path / "out/a.mp4", (32, 32), 25) as writer:
        writer.container.metadata["comment"] = comment
        writer.add_pixels(noise(1, 32, 32)[0])
    content = (tmp_path / "out/a.mp4").read_bytes()
    with pytest.raises(InputError, match="out/a.mp4 is there and was not written by prepare_videos.py"):
        encode(source, tmp_path)
    assert (tmp_path / "out/a.mp4").read_bytes() == content


def test_two_lists_in_one_folder(videos, prepare, tmp_path):
    (tmp_path / "one.list").write_text("source/air drumming/a.mp4 0\n")
    make_video(videos / "yoga/a.mp4", noise(6, 32, 32))
    (tmp_path / "two.list").write_text("source/yoga/a.mp4 1\n")
    prepare("one.list", "out")
    with pytest.raises(InputError, match="out/a.mp4 was made from .*source/air drumming/a.mp4, not from"):
        prepare("two.list", "out")
    for name in ("one", "two"):
        prepare(f"{name}.list", "both", "--source_dir=source")
    assert (tmp_path / "both/two.list").read_text() == f"{tmp_path}/both/yoga/a.mp4 1\n"
    with pytest.raises(InputError, match="is not below --source_dir source/yoga"):
        prepare("one.list", "out", "--source_dir=source/yoga")


@pytest.mark.parametrize(
    ("content", "out_dir", "message"),
    [
        (None, "out", "cannot read the list"),
        ("", "out", "is empty"),
        ("nothing.mp4 0\n", "out", "no video of x.list could be read"),
        ("nothing.mp4 0\n", "/dev/null/out", "cannot write to the folder /dev/null"),
    ],
)
def test_bad_input_is_one_message(tmp_path, prepare, content, out_dir, message):
    if content is not None:
        (tmp_path / "x.list").write_text(content)
    with pytest.raises(InputError, match=message):
        prepare("x.list", out_dir)


def test_a_full_disk_stops_the_run_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    source = make_video(tmp_path / "a.mp4", noise(4, 32, 32))
    monkeypatch.setattr(video_encode.Transcoder, "add", full)
    with pytest.raises(InputError, match="cannot write .*out/a.mp4: No space left"):
        encode(source, tmp_path)
    assert not list((tmp_path / "out").iterdir())


def test_what_does_not_verify_gets_no_name(tmp_path, monkeypatch):
    source = make_video(tmp_path / "a.mp4", noise(4, 32, 32))
    monkeypatch.setattr(video_encode, "_encode_whole", lambda *_: (5, (32, 32), 0))
    make_video(tmp_path / "temporary.mp4", noise(4, 32, 32))
    with pytest.raises(VideoError, match="decodes to .* instead of"):
        encode(source, tmp_path)
    assert not list((tmp_path / "out").iterdir())


def test_names_differ_where_case_is_ignored():
    entries = [
        video_lists.Entry(line, name, 0, f"/data/{name}", f"/data/{name}")
        for line, name in enumerate(("x/a.mp4", "x/A.mp4", "x/a_2.mp4", "y/a.mp4", "x/a.MP4.mp4"), 1)
    ]
    places = prepare_videos.targets(entries, "/out", None)
    assert len({place.casefold() for place in places.values()}) == len(entries)


def running(session: int) -> list[str]:
    """The processes of a session that have not ended, a line each."""
    columns = ["ps", "-A", "-o", "sess=,stat=,args="]
    lines = subprocess.run(columns, check=True, capture_output=True, text=True).stdout.splitlines()
    return [line for line in lines if line.split()[0] == str(session) and "Z" not in line.split()[1]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_leaves_no_process_and_no_half_written_file(tmp_path, number):
    make_video(tmp_path / "0.mp4", noise(60, 128, 128), codec_options={"preset": "ultrafast"})
    for index in range(1, 100):  # more than are ready before the signal comes
        os.link(tmp_path / "0.mp4", tmp_path / f"{index}.mp4")
    (tmp_path / "v.list").write_text("".join(f"{index}.mp4 0\n" for index in range(100)))
    command = [sys.executable, str(ROOT / "dataset/prepare_videos.py"), "v.list", "out", "--workers=2"]
    process = subprocess.Popen(command, cwd=tmp_path, start_new_session=True, stdout=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("out/.zoo_*.tmp/*.mp4")):  # by the work, not the clock: machines stall
        assert process.poll() is None
        time.sleep(0.01)
    assert running(process.pid)
    os.kill(process.pid, number)
    process.communicate(timeout=30)
    assert process.returncode == (130 if number == signal.SIGINT else 143)
    for path in (tmp_path / "out").rglob("*"):
        assert path.suffix == ".mp4" and len(frames_of(path)) == 60
    end = time.monotonic() + 10
    while running(process.pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert not running(process.pid)
