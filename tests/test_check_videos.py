"""dataset/check_videos.py, run as a user runs it, on lists and files that are wrong in many ways."""

from __future__ import annotations

import csv
import os
import signal
import stat
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

import pytest
from media import make_audio, make_video, noise, zero_packets

ROOT = Path(__file__).resolve().parents[1]
from video_zoo.dataset import check_videos, video_lists, video_probe, video_statistics
from video_zoo.utils import cli
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger

FRAMES = 24
NAME = 'yoga/it\'s "naïve" 跳舞 & <b>.mp4'
BROKEN = {  # name -> (status, part of the reason)
    "text.mp4": ("unreadable", "no video"),
    "sound.mp4": ("unreadable", "no video"),
    "cut behind.mp4": ("unreadable", "no video"),
    "folder.mp4": ("unreadable", "folder"),
    "zero.mp4": ("empty", "empty"),
    "cut in front.mp4": ("damaged", "cut off"),
    "zeroed.mp4": ("damaged", "frames before the damage"),
    "short.mp4": ("too short", "it has 5 whole frames, and a clip needs 8"),
    "not there.mp4": ("missing", "no such file"),
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Two good videos in class folders, and a broken one of each kind."""
    folder = tmp_path_factory.mktemp("videos")
    for name in ("air drumming", "yoga", "folder.mp4"):
        (folder / name).mkdir()
    options = {"codec_options": {"g": "4", "sc_threshold": "0"}}
    make_video(folder / "air drumming/a.mp4", noise(FRAMES, 48, 64), **options)
    make_video(folder / NAME, noise(FRAMES, 64, 48), **options)
    (folder / "text.mp4").write_text("no video\n" * 50)
    (folder / "zero.mp4").touch()
    make_audio(folder / "sound.mp4")
    make_video(folder / "short.mp4", noise(5, 48, 64))
    whole = make_video(folder / "whole.mp4", noise(40, 64, 64), **options).read_bytes()
    (folder / "cut behind.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    (folder / "zeroed.mp4").write_bytes(zero_packets(folder / "whole.mp4", [26], 30))
    front = make_video(folder / "front.mp4", noise(40, 64, 64), file_options={"movflags": "faststart"}, **options)
    (folder / "cut in front.mp4").write_bytes(front.read_bytes()[: len(whole) * 2 // 3])
    (folder / "label.txt").write_text("air drumming 0\nyoga 1\n")
    return folder


class Result(NamedTuple):
    """What a run printed and wrote: the report's rows by line, and the clean list's lines."""

    stdout: str
    stderr: str
    rows: dict[int, dict[str, str]]
    clean: list[str]


@pytest.fixture
def check(videos, run_cli, monkeypatch, capsys):
    """Writes a list and checks it: in this process, or, with `workers`, in its own."""
    for name in ("handlers", "propagate", "level"):
        monkeypatch.setattr(logger, name, getattr(logger, name))
    before = signal.getsignal(signal.SIGTERM)

    def run(lines: list[str] | bytes, *flags: str, code: int = 1, workers: int = 0) -> Result:
        path = videos / "v.list"
        path.write_bytes(lines if isinstance(lines, bytes) else "".join(f"{line}\n" for line in lines).encode())
        command = ["dataset/check_videos.py", str(path), f"--workers={workers}", *flags]
        if workers:
            done = run_cli(*command)
            ended, out, err = done.returncode, done.stdout, done.stderr
        else:
            monkeypatch.setattr(sys, "argv", command)
            with pytest.raises(SystemExit) as end:
                cli.run(check_videos.main)
            (out, err), ended = capsys.readouterr(), end.value.code
        assert ended == code, out + err
        assert "Traceback" not in err
        with open(videos / "v.report.csv", newline="", encoding="utf-8") as file:
            rows = {int(row["line"]): row for row in csv.DictReader(file)}
        return Result(out, err, rows, (videos / "v.clean.list").read_text(encoding="utf-8").splitlines())

    yield run
    signal.signal(signal.SIGTERM, before)


def test_good_videos_are_described_and_the_exit_code_is_0(check, videos):
    lines = ["air drumming/a.mp4 0", f"{NAME} 1"]
    done = check(lines, f"--labels={videos}/label.txt", code=0, workers=2)
    assert done.clean == lines and done.stderr == ""
    row = done.rows[2]
    assert (row["path"], row["status"], row["reason"], row["audio"]) == (NAME, "ok", "", "no")
    assert (row["width"], row["height"], row["frames"], row["codec"]) == ("48", "64", str(FRAMES), "h264")
    assert (row["fps"], row["duration_s"], row["gop_max"]) == ("25.0", "0.96", "4")
    assert int(row["bytes"]) == (videos / NAME).stat().st_size
    assert "2/2 videos, " in done.stdout and " videos/s" in done.stdout
    assert [line.split() for line in done.stdout.splitlines() if line.startswith(("ok", "short side"))] == [
        ["ok", "2"],
        ["short", "side", "(px)", "48", "48", "48"],
    ]
    assert "prepare_videos.py" not in done.stdout


def test_a_list_may_have_a_name_as_long_as_the_file_system_takes(tmp_path, monkeypatch, videos):
    """Its results too, beside it; those of two lists that differ at the end alone are not one."""
    monkeypatch.setattr(logger, "handlers", [])
    for last in "ab":
        path = tmp_path / f"{'漢' * 83}{last}.list"  # 255 bytes
        path.write_text(f"{videos}/air drumming/a.mp4 0\n", encoding="utf-8")
        monkeypatch.setattr(sys, "argv", ["check_videos.py", str(path), "--workers=0"])
        check_videos.main()
    ends = sorted(path.name.partition("~")[2][8:] for path in tmp_path.iterdir() if "~" in path.name)
    assert ends == sorted(2 * [".clean.list", ".report.csv", ".report.svg"]) and len(list(tmp_path.iterdir())) == 8


def test_every_kind_of_broken_file_is_found(check):
    lines = [f"{name} 0" for name in BROKEN] + [f"{NAME} 1"]
    done = check(lines, workers=1)
    assert done.clean == [f"{NAME} 1"]
    for (name, (status, reason)), row in zip(BROKEN.items(), done.rows.values()):
        assert row["path"] == name
        assert row["status"] == status and reason in row["reason"], row
        assert f"{status}: {name}" in done.stdout
    assert done.stderr.startswith(f"error: {len(BROKEN)} of {len(lines)} lines of ") and done.stderr.count("\n") == 1


def test_quick_overlooks_only_damage_between_the_frames_of_a_clip(check):
    rows = check([f"{name} 0" for name in BROKEN], "--quick").rows
    found = {row["path"]: row["status"] for row in rows.values()}
    assert found.pop("zeroed.mp4") in ("ok", "damaged")
    assert found == {name: status for name, (status, _) in BROKEN.items() if name != "zeroed.mp4"}
    assert rows[6]["frames"] and rows[6]["gop_max"] == "4"


def test_damaged_videos_can_be_kept(check):
    lines = [f"{name} 0" for name in BROKEN]
    _, _, rows, clean = check(lines, "--keep_damaged")
    assert clean == ["cut in front.mp4 0", "zeroed.mp4 0"]
    assert 8 <= int(rows[6]["frames"]) < 40
    _, _, rows, clean = check(lines, "--keep_damaged", "--seg_num=36")
    assert clean == [] and rows[6]["status"] == "damaged" and "needs 36" in rows[6]["reason"]


def test_untidy_and_wrong_lines(check):
    text = (
        "\ufeffair drumming/a.mp4\t0\r\n\r\n  whole.mp4   1  \nfront.mp4\nfront.mp4 one\nfront.mp4 2\nfront.mp4 -1\n"
        f"whole.mp4 1\nair drumming/../whole.mp4 1\n7\n{NAME} 0\n{NAME} 1\nfront.mp4 1.0\n"
    )
    stdout, _, rows, clean = check(text.encode() + b"\xff.mp4 1\n", "--num_classes=2")
    assert clean == ["air drumming/a.mp4 0", "whole.mp4 1"]
    for part in (
        "a byte order mark in line 1",
        "(CRLF) in lines 1, 2;",
        "blank in line 2",
        "a tab before the label in",
    ):
        assert part in stdout
    assert {line: row["status"] for line, row in rows.items()} == {
        **{1: "ok", 3: "ok", 4: "bad line", 5: "bad line", 6: "bad line", 7: "bad line", 8: "duplicate"},
        **{9: "duplicate", 10: "bad line", 11: "mislabelled", 12: "mislabelled", 13: "bad line", 14: "bad line"},
    }
    for line, reason in {
        4: "no label; a line is `path label`",
        5: "the label 'one' is no whole number",
        6: "label 2 is not one of the 2 classes, 0 to 1; do its labels count from 1?",
        7: "label -1 is not one of the 2 classes",
        9: "line 3 has the same video",
        11: "line 12 gives the same video label 1",
        14: "not UTF-8 text",
    }.items():
        assert reason in rows[line]["reason"]


def test_a_video_in_the_folder_of_another_class(check, videos):
    lines = ["air drumming/a.mp4 1", f"{NAME} 1", f"{NAME} 0"]
    _, _, rows, clean = check(lines, f"--labels={videos}/label.txt")
    assert clean == [f"{NAME} 1"]  # its folder confirms this one of two
    assert rows[1]["reason"] == "label 1 (yoga), but in the folder of 0 (air drumming)"
    assert rows[3]["status"] == "mislabelled"


def test_labels_from_one(check):
    lines = ["air drumming/a.mp4 1", f"{NAME} 2"]
    done = check(lines, "--num_classes=2")
    assert done.stdout.count("the labels count from 1: none is 0, the highest is 2") == 1
    assert "--from_one" in done.stdout and done.clean == ["air drumming/a.mp4 1"]
    assert "perhaps count from 1" in check(lines, code=0).stdout
    done = check(lines, "--num_classes=2", "--from_one", code=0)
    assert "from 1" not in done.stdout and done.clean == ["air drumming/a.mp4 0", f"{NAME} 1"]
    assert done.rows[2]["label"] == "1"


def test_a_video_that_takes_too_long(check):
    row = check(["air drumming/a.mp4 0"], "--timeout_s=0.0005", workers=1).rows[1]
    assert row["status"] == "unreadable" and "longer than --timeout_s" in row["reason"]


def test_paths_of_a_clean_list_elsewhere_lead_to_the_videos(videos, tmp_path, run_cli):
    (videos / "w.list").write_text("whole.mp4 1\n")
    places = [tmp_path / name for name in ("c.list", "r.csv", "p.svg")]
    flags = [f"--{flag}={place}" for flag, place in zip(("clean_list", "report", "picture"), places)]
    done = run_cli("dataset/check_videos.py", str(videos / "w.list"), *flags, "--workers=0")
    assert done.returncode == 0, done.stderr
    assert places[0].read_text() == f"{videos}/whole.mp4 1\n"
    assert sorted(tmp_path.iterdir()) == sorted(places)  # nothing temporary
    assert stat.S_IMODE(places[1].stat().st_mode) & 0o400


@pytest.mark.parametrize(
    ("content", "flags", "message"),
    [
        (None, [], "cannot read the list .*No such file"),
        ("folder", [], "it is a folder; name a list"),
        (b"", [], "is empty; it needs `path label` lines"),
        (b" \r\n\n", [], "is empty"),
        (b"\0\0\0\x20ftypisom", [], "x.list: it has zero bytes in it"),
        (b"a.mp4 0\n", ["--clean_list={list}"], "need four names"),
        (b"a.mp4 0\n", ["--report={folder}"], "is a folder; --clean_list"),
        (b"a.mp4 0\n", ["--report=/dev/null/x.csv"], "cannot write to the folder /dev/null"),
        (b"a.mp4 0\n", ["--labels={folder}/no.txt"], "cannot read .*no.txt"),
        (b"a.mp4 0\n", ["--labels={labels}", "--num_classes=3"], "--num_classes is 3, but the label file has 2"),
    ],
)
def test_bad_input_is_one_message(tmp_path, videos, monkeypatch, log, content, flags, message):
    path = tmp_path / "x.list"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    names = {"list": path, "folder": tmp_path, "labels": videos / "label.txt"}
    monkeypatch.setattr(sys, "argv", ["check_videos.py", str(path), *(flag.format(**names) for flag in flags)])
    with pytest.raises(InputError, match=message):
        check_videos.main()
    assert content == "folder" or sorted(tmp_path.iterdir()) == [path] * path.exists()


def test_a_file_name_that_ends_in_a_number(tmp_path):
    (tmp_path / "clip 7").write_bytes(b"x")
    (tmp_path / "v.list").write_text("clip 7\nclip 7 3\nother 8\n")
    entries, _ = video_lists.read_any_list(str(tmp_path / "v.list"))
    assert [(entry.path, entry.label) for entry in entries] == [("clip 7", None), ("clip 7", 3), ("other", 8)]


def test_the_longest_group_of_pictures():
    assert video_probe.largest_gop([True, False, False, True, True, False]) == 3
    assert video_probe.largest_gop([False, True, False, False]) == 3
    assert video_probe.largest_gop([]) == 0


def test_histograms_hold_every_value():
    for values in ([5], [0.5] * 3, [1, 2, 2, 300], [*range(100), 10_000], [9.7, 10.03, 10.1], [240, 256, 1080]):
        bins = video_statistics.histogram(values)
        assert sum(bins.counts) == len(values) and len(bins.counts) <= 2 * video_statistics.BINS
        assert bins.start <= min(values)
        assert bins.open_end or max(values) < bins.start + bins.step * len(bins.counts) + 1e-6


def test_the_picture_is_valid_and_escapes_names(tmp_path):
    path = tmp_path / "a.svg"
    columns = {"short side (px)": [256, 256, 340], "longest GOP (frames)": [], "duration (s)": [10.0] * 99 + [400.0]}
    video_statistics.write_picture(path, 'a & <b> "c"', {"ok": 3, "damaged": 1}, columns)
    text = "".join(ElementTree.parse(path).getroot().itertext())
    for part in ('a & <b> "c"', "ok 3", "damaged 1", "no video could be read", "median 256"):
        assert part in text


def test_help_needs_no_paddle(tmp_path):
    (tmp_path / "paddle.py").write_text("raise ImportError('not for these tools')")
    for script in ("check_videos.py", "prepare_videos.py"):
        command = [sys.executable, str(ROOT / "dataset" / script), "--help"]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        done = subprocess.run(command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0 and "usage" in done.stdout, done.stderr
