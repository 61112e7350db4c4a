"""The label file, and the tools of dataset/kinetics run as a user runs them."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import encode_images, make_video, moving, set_display_matrix, zero_packets
from preloaded import PRELOADED

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / "dataset" / "kinetics"
from video_zoo.datareader import labels, v15_pickles
from video_zoo.datareader.decode import decode_video
from video_zoo.dataset.kinetics import jpeg_pickles, kinetics_csv, make_list, video2pkl
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger

HEADER = "label,youtube_id,time_start,time_end,split,is_cc\n"
FRAMES, WIDTH, HEIGHT = 6, 64, 48


def run_tool(script: str | Path, *arguments: object, cwd: Path, code: int = 0) -> subprocess.CompletedProcess:
    """Runs a tool, as `python script arguments` does, and checks its exit code and that there is no traceback."""
    done = PRELOADED.run([str(script), *map(str, arguments)], timeout=60, cwd=cwd)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    if code == 1:
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    return done


def write_csv(path: Path, rows: list[str], header: str = HEADER) -> Path:
    path.write_text(header + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def clip_file(tmp_path_factory) -> Path:
    """An mp4 of FRAMES frames, each one grey level."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (WIDTH, HEIGHT))
    for index in range(FRAMES):
        writer.write(np.full((HEIGHT, WIDTH, 3), 40 * index, np.uint8))
    writer.release()
    return path


def put(clip_file: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(clip_file, path)


@pytest.fixture
def kinetics(tmp_path, clip_file) -> Path:
    """A folder as v1.5's dataset/kinetics: csv, label file, train_mp4/CLASS; one video missing, one broken."""
    write_csv(
        tmp_path / "train.csv",
        ["air drumming,aaaaaaaaaaa,1,11,train,0", "yoga,-bbbbbbbbb_,20,30,train,0", "yoga,ccccccccccc,5,15,train,0"]
        + ["zumba,ddddddddddd,100,110,train,0"],
    )
    (tmp_path / "kinetics400_label.txt").write_text("air drumming 0\nyoga 1\nzumba 2\n")
    put(clip_file, tmp_path / "train_mp4/air drumming/aaaaaaaaaaa_000001_000011.mp4")
    put(clip_file, tmp_path / "train_mp4/yoga/-bbbbbbbbb__000020_000030.mp4")
    (tmp_path / "train_mp4/zumba").mkdir()
    (tmp_path / "train_mp4/zumba/ddddddddddd_000100_000110.mp4").write_bytes(b"not a video")
    return tmp_path


# The label file


def test_the_repositorys_label_file():
    names = labels.read_class_names(TOOLS / "kinetics400_label.txt")
    assert len(names) == 400
    assert names == sorted(names)
    assert names[0] == "abseiling" and names[-1] == "zumba"


@settings(max_examples=50, deadline=None)
@given(
    names=st.lists(
        st.text(st.characters(blacklist_categories=("Cs", "Cc"))).map(str.strip).filter(bool), unique=True, min_size=1
    )
)
def test_class_names_survive_the_file(tmp_path_factory, names):
    path = tmp_path_factory.getbasetemp() / "names.txt"
    labels.write_class_names(path, names)
    assert labels.read_class_names(path) == names


def test_class_names_in_any_order_with_bom_and_crlf(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_bytes("\ufeff跳 舞 1\r\n\r\nair drumming 0\r\n".encode())
    assert labels.read_class_names(path) == ["air drumming", "跳 舞"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("yoga 0\nair drumming\n", "labels.txt:2: 'air drumming' is not `NAME INDEX`"),
        ("yoga 0\n7\n", "labels.txt:2: '7' is not `NAME INDEX`"),
        ("yoga 0\nzumba -1\n", "labels.txt:2: "),
        ("yoga 0\n\nzumba 0\n", "labels.txt:3: index 0 twice; line 1"),
        ("yoga 0\nyoga 1\n", "labels.txt:2: class 'yoga' twice; line 1"),
        ("yoga 0\nzumba 2\n", "labels.txt:2: index 2, but no line has index 1"),
        ("yoga 1\n", "labels.txt:1: index 1, but no line has index 0"),
        (" \n", "labels.txt: empty"),
        (None, "cannot read .*labels.txt: No such file"),
    ],
)
def test_a_bad_label_file_is_named_with_its_line(tmp_path, text, message):
    path = tmp_path / "labels.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message):
        labels.read_class_names(path)


@pytest.mark.parametrize("names", [[], ["yoga", ""], ["yoga", "yoga"], ["two\nlines"], [" yoga"]])
def test_names_that_cannot_be_read_back_are_not_written(tmp_path, names):
    with pytest.raises(InputError, match="labels.txt: not written"):
        labels.write_class_names(tmp_path / "labels.txt", names)
    assert not list(tmp_path.iterdir())


# The csv


def test_the_test_split_has_no_label(tmp_path):
    path = write_csv(tmp_path / "test.csv", ["aaaaaaaaaaa,1.0,11,test"], "youtube_id,time_start,time_end,split\n")
    (clip,) = kinetics_csv.read_clips(path)
    assert (clip.label, clip.name, clip.split, clip.line) == ("", "aaaaaaaaaaa_000001_000011", "test", 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "yoga,aaa,1,11,train,0\nyoga,bbb,x,11,train,0\n", "bad.csv:3: time_start is 'x'"),
        (HEADER + "yoga,aaa,1.5,11,train,0\n", "bad.csv:2: time_start is '1.5'"),
        (HEADER + "yoga,aaa,1,inf,train,0\n", "bad.csv:2: time_end is 'inf'"),
        (HEADER + "yoga,aaa\n", "bad.csv:2: 2 columns, but the header has 6"),
        (HEADER + "yoga,,1,11,train,0\n", "bad.csv:2: no youtube_id"),
        (HEADER + '"yoga,aaa,1,11,train,0\n', "bad.csv:.*quote left open"),
        (HEADER + "\n", "bad.csv: no rows"),
        ("<html>\n", "bad.csv:1: no column youtube_id nor time_start nor time_end"),
        ("", "bad.csv:1: no column .*this one is empty"),
        (b"\xff", "bad.csv: not UTF-8"),
        (b"\xff\xfe", "bad.csv: it is UTF-16 text; save it as UTF-8"),
        (None, "cannot read .*bad.csv: No such file"),
    ],
)
def test_a_bad_csv_is_named_with_its_line(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        kinetics_csv.read_clips(path)


# generate_label.py


def test_generate_label_as_in_v15(tmp_path):
    (tmp_path / "generate_label.py").symlink_to(TOOLS / "generate_label.py")
    rows = ["yoga,aaa,1,11,train,0", '"tying knot, not on a tie",bbb,1,11,train,0', '"air drumming",ccc,1,11,train,0']
    write_csv(tmp_path / "kinetics-400_train.csv", rows + rows)
    done = run_tool("generate_label.py", "kinetics-400_train.csv", "kinetics400_label.txt", cwd=tmp_path)
    assert (tmp_path / "kinetics400_label.txt").read_text() == "air drumming 0\ntying knot, not on a tie 1\nyoga 2\n"
    assert done.stdout.startswith("kinetics400_label.txt: 3 classes, from 6 rows")
    assert "warning: 3 classes, but Kinetics has 400, 600 or 700" in done.stderr


def test_generate_label_makes_the_repositorys_file(tmp_path):
    names = labels.read_class_names(TOOLS / "kinetics400_label.txt")
    write_csv(tmp_path / "train.csv", [f'"{name}",{"a" * 11},1,11,train,0' for name in reversed(names)])
    done = run_tool(TOOLS / "generate_label.py", "train.csv", "labels.txt", cwd=tmp_path)
    assert done.stderr == ""
    assert (tmp_path / "labels.txt").read_bytes() == (TOOLS / "kinetics400_label.txt").read_bytes()


def test_generate_label_says_what_is_wrong(tmp_path):
    assert "cannot read" in run_tool(TOOLS / "generate_label.py", "no.csv", "out.txt", cwd=tmp_path, code=1).stderr
    write_csv(tmp_path / "test.csv", [",aaa,1,11,test,0"])
    done = run_tool(TOOLS / "generate_label.py", "test.csv", "out.txt", cwd=tmp_path, code=1)
    assert "no row has a label; take the train csv" in done.stderr
    assert not (tmp_path / "out.txt").exists()


# video2pkl.py


def read_pickle(path: Path) -> tuple:
    with open(path, "rb") as file:
        content = pickle.load(file)
    assert v15_pickles.read_pickle(path) == content  # what training reads
    return content


def test_video2pkl_as_in_v15(kinetics, clip_file):
    (kinetics / "video2pkl.py").symlink_to(TOOLS / "video2pkl.py")
    done = run_tool("video2pkl.py", "train.csv", "train_mp4", "train_pkl", "2", cwd=kinetics)
    assert "4 clips: 0 done before, 1 missing, 3 to convert, 2 at a time" in done.stdout
    assert "2 written, 0 done before, 1 missing, 1 unreadable, 0 cut short" in done.stdout
    assert done.stderr == ""
    names = sorted(path.name for path in (kinetics / "train_pkl").iterdir())
    pickles = ["-bbbbbbbbb__000020_000030.pkl", "aaaaaaaaaaa_000001_000011.pkl"]
    assert names == [*pickles, "train_report.txt"]  # and no temporary file
    assert (kinetics / "train_pkl" / pickles[0]).read_bytes()[:2] == b"\x80\x02"

    video_id, label, jpegs = read_pickle(kinetics / "train_pkl" / pickles[0])
    assert (video_id, label, len(jpegs)) == ("-bbbbbbbbb__000020_000030", 1, FRAMES)
    for index, jpeg in enumerate(jpegs):
        frame = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert frame.shape == (HEIGHT, WIDTH, 3)
        assert np.abs(frame.astype(int) - 40 * index).max() <= 4

    missing, unreadable = (kinetics / "train_pkl/train_report.txt").read_text().splitlines()
    looked = "train_mp4/yoga/ccccccccccc_000005_000015.mp4"
    assert missing == f"missing\tccccccccccc_000005_000015\tlooked first for {looked}"
    assert unreadable.startswith("unreadable\tddddddddddd_000100_000110\t") and "it is no video" in unreadable


def test_video2pkl_goes_on_where_it_was(kinetics, clip_file):
    done_before = kinetics / "train_pkl/aaaaaaaaaaa_000001_000011.pkl"
    done_before.parent.mkdir()
    done_before.write_bytes(b"finished")
    put(clip_file, kinetics / "train_mp4/yoga/ccccccccccc_000005_000015.mp4")
    done = run_tool(TOOLS / "video2pkl.py", "train.csv", "train_mp4", "train_pkl", "1", cwd=kinetics)
    assert "2 written, 1 done before, 0 missing, 1 unreadable" in done.stdout
    assert done_before.read_bytes() == b"finished"
    assert read_pickle(kinetics / "train_pkl/ccccccccccc_000005_000015.pkl")[1] == 1


def test_video2pkl_takes_the_test_split_and_the_labels_beside_the_script(tmp_path, clip_file):
    write_csv(tmp_path / "mixed.csv", [",aaaaaaaaaaa,1,11,test,0", "zumba,bbbbbbbbbbb,1,11,test,0"])
    put(clip_file, tmp_path / "videos/aaaaaaaaaaa_000001_000011.mp4")
    put(clip_file, tmp_path / "videos/zumba/bbbbbbbbbbb_000001_000011.mp4")
    run_tool(TOOLS / "video2pkl.py", "mixed.csv", "videos", "out", "1", cwd=tmp_path)
    assert read_pickle(tmp_path / "out/aaaaaaaaaaa_000001_000011.pkl")[1] == -1
    assert read_pickle(tmp_path / "out/bbbbbbbbbbb_000001_000011.pkl")[1] == 399


def test_video2pkl_takes_a_csv_of_the_longest_name(kinetics, monkeypatch):
    table = (kinetics / "train.csv").rename(kinetics / f"{'漢' * 83}ab.csv")  # 255 bytes
    monkeypatch.chdir(kinetics)
    monkeypatch.setattr(sys, "argv", ["video2pkl.py", table.name, "train_mp4", "out", "1"])
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(video2pkl, "convert", deadly)  # as of any video: what counts here is the report's name
    video2pkl.main()
    (report,) = (kinetics / "out").glob("*.txt")
    assert report.name.endswith("_report.txt") and "ccccccccccc" in report.read_text(encoding="utf-8")


def test_video2pkl_says_what_is_wrong(kinetics):
    tool = TOOLS / "video2pkl.py"
    assert "cannot read no.csv" in run_tool(tool, "no.csv", "train_mp4", "out", 1, cwd=kinetics, code=1).stderr
    assert "nowhere: no such folder" in run_tool(tool, "train.csv", "nowhere", "out", 1, cwd=kinetics, code=1).stderr
    assert "'0' is not a positive" in run_tool(tool, "train.csv", "train_mp4", "out", 0, cwd=kinetics, code=2).stderr
    (kinetics / "empty").mkdir()
    done = run_tool(tool, "train.csv", "empty", "out", 1, cwd=kinetics, code=1)
    assert "looked first for empty/air drumming/aaaaaaaaaaa_000001_000011.mp4" in done.stderr
    (kinetics / "file").touch()
    assert "file" in run_tool(tool, "train.csv", "train_mp4", "file", 1, cwd=kinetics, code=1).stderr


def test_a_pickle_that_cannot_be_written_leaves_nothing(tmp_path, clip_file, monkeypatch):
    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pickle, "dump", full_disk)
    with pytest.raises(InputError, match="cannot write .*x.pkl: No space left"):
        jpeg_pickles.convert(jpeg_pickles.Job(str(clip_file), str(tmp_path / "x.pkl"), "x", 0, 95))
    assert not list(tmp_path.iterdir())


def test_a_video_cut_short_is_kept_and_named(tmp_path, monkeypatch, clip_file):
    monkeypatch.setattr(jpeg_pickles, "CUT_SHORT", 2)
    outcome = jpeg_pickles.convert(jpeg_pickles.Job(str(clip_file), str(tmp_path / "x.pkl"), "x", 0, 95))
    assert outcome == ("cut short", f"{clip_file}: {FRAMES} of {FRAMES} frames")
    assert (tmp_path / "x.pkl").exists()


def test_a_damaged_video_gives_the_frames_before_and_is_named(tmp_path):
    whole = make_video(tmp_path / "a.mp4", moving(40), codec_options={"g": "10"})
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(zero_packets(whole, [25], 40))
    status, reason = jpeg_pickles.convert(jpeg_pickles.Job(str(damaged), str(tmp_path / "x.pkl"), "x", 0, 95))
    kept = len(read_pickle(tmp_path / "x.pkl")[2])
    assert status == "cut short" and "a frame is damaged" in reason and f"{kept} frames before" in reason
    assert 0 < kept <= 25


def test_pickles_have_the_frames_that_the_reader_gives(tmp_path):
    """Upright, and of interlaced video."""
    path = make_video(tmp_path / "a.mp4", moving(4), codec_options={"x264-params": "tff=1"})
    set_display_matrix(path, -1, 0, 0, 1)
    assert jpeg_pickles.convert(jpeg_pickles.Job(str(path), str(tmp_path / "x.pkl"), "x", 0, 95)) == ("written", "")
    assert read_pickle(tmp_path / "x.pkl")[2] == encode_images(decode_video(path, range).frames, ".jpg")


def deadly(job):
    """In place of convert(): as a decoder that crashes on one video."""
    if job.video_id == "deadly":
        os._exit(1)
    return "written", ""


def test_a_process_that_dies_costs_one_video(monkeypatch):
    monkeypatch.setattr(video2pkl, "convert", deadly)
    jobs = [video2pkl.Job("", "", name, 0, 95) for name in ("one", "deadly", "two")]
    tally = video2pkl.Tally()
    video2pkl.convert_all(jobs, 2, tally)
    assert tally.counts == {"written": 2, "unreadable": 1}
    assert [row[:2] for row in tally.report] == [("unreadable", "deadly")]


# make_list.py


def test_make_list_and_what_is_missing(kinetics):
    with open(kinetics / "train.csv", "a") as file:
        file.write("yoga,eeeeeeeeeee,5,15,train,0\nyoga,-bbbbbbbbb_,20,30,train,0\n")
    command = ("train.csv", "train_mp4", "train.list", "--missing", "missing.txt")
    done = run_tool(TOOLS / "make_list.py", *command, cwd=kinetics)
    assert (kinetics / "train.list").read_text() == (
        "train_mp4/air drumming/aaaaaaaaaaa_000001_000011.mp4 0\n"
        "train_mp4/yoga/-bbbbbbbbb__000020_000030.mp4 1\n"
        "train_mp4/zumba/ddddddddddd_000100_000110.mp4 2\n"
    )
    assert (kinetics / "missing.txt").read_text() == "ccccccccccc\neeeeeeeeeee\n"
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[1:3] == [["yoga", "3", "1", "2"], ["total", "5", "3", "2"]]
    assert "classes complete: 2 of 3" in done.stdout
    assert "5 clips (1 repeated rows dropped)" in done.stdout
    assert "you have 3 training videos; PaddleVideo v1.5 trained TSM on 239,781, TSN on 224,684" in done.stdout


def test_make_list_finds_every_layout(tmp_path, clip_file):
    ids = [letter * 11 for letter in "abcdef"]
    write_csv(tmp_path / "val.csv", [f"air drumming,{video_id},1,11,validate,0" for video_id in ids])
    videos = tmp_path / "videos"
    found = [
        "air drumming/aaaaaaaaaaa_000001_000011.mp4",
        "air_drumming/bbbbbbbbbbb_000001_000011.MP4",
        "ccccccccccc_000001_000011.mp4",
        "part_1/deep/ddddddddddd.mp4",
        "eeeeeeeeeee.mp4",
    ]
    second_choice = ["aaaaaaaaaaa.mp4", "aaaaaaaaaaa_000001_000011.mp4", "air_drumming/aaaaaaaaaaa_000001_000011.mp4"]
    for path in [*found, *second_choice, "air drumming/aaaaaaaaaaa_000001_000012.mp4", "fffffffffff.mkv"]:
        put(clip_file, videos / path)
    (videos / "loop").symlink_to(videos)
    done = run_tool(TOOLS / "make_list.py", "val.csv", "videos/", "val.list", cwd=tmp_path)
    lines = (tmp_path / "val.list").read_text().splitlines()
    assert lines == [f"videos/{path} 1" for path in found]
    assert all((tmp_path / line.rsplit(" ", 1)[0]).is_file() for line in lines)
    assert "training videos" not in done.stdout


def test_make_list_of_pickles_and_of_the_test_split(kinetics):
    run_tool(TOOLS / "video2pkl.py", "train.csv", "train_mp4", "train_pkl", "1", cwd=kinetics)
    run_tool(TOOLS / "make_list.py", "train.csv", "./train_pkl", "train.list", "--format", "pkl", cwd=kinetics)
    assert (kinetics / "train.list").read_text().splitlines() == [
        "./train_pkl/aaaaaaaaaaa_000001_000011.pkl",
        "./train_pkl/-bbbbbbbbb__000020_000030.pkl",
    ]
    write_csv(kinetics / "test.csv", ["aaaaaaaaaaa,1,11"], "youtube_id,time_start,time_end\n")
    done = run_tool(TOOLS / "make_list.py", "test.csv", "train_mp4", "infer.list", cwd=kinetics)
    assert (kinetics / "infer.list").read_text() == "train_mp4/air drumming/aaaaaaaaaaa_000001_000011.mp4 -1\n"
    assert "nothing is missing" in done.stdout


def test_paths_lead_to_the_videos_from_the_list_or_are_absolute(kinetics):
    elsewhere = kinetics / "lists"
    done = run_tool(TOOLS / "make_list.py", "train.csv", "train_mp4", "lists/train.list", cwd=kinetics)
    assert "the paths are absolute" in done.stdout
    path = (elsewhere / "train.list").read_text().splitlines()[0].rsplit(" ", 1)[0]
    assert path == str(kinetics / "train_mp4/air drumming/aaaaaaaaaaa_000001_000011.mp4")
    assert Path(path).is_file()


def test_make_list_says_what_is_wrong(kinetics):
    tool = TOOLS / "make_list.py"
    (kinetics / "empty").mkdir()
    done = run_tool(tool, "train.csv", "empty", "x.list", cwd=kinetics, code=1)
    assert "none of the 4 clips of train.csv" in done.stderr
    assert "looked first for empty/air drumming/aaaaaaaaaaa_000001_000011.mp4; the folder holds 0" in done.stderr
    assert "nowhere: no such folder" in run_tool(tool, "train.csv", "nowhere", "x.list", cwd=kinetics, code=1).stderr
    write_csv(kinetics / "bad.csv", ["yoga,aaa,1,11,train,0", "air druming,bbb,1,11,train,0"])
    done = run_tool(tool, "bad.csv", "train_mp4", "x.list", cwd=kinetics, code=1)
    expected = "bad.csv:3: class 'air druming' is not in kinetics400_label.txt; did you mean air drumming?"
    assert done.stderr == f"error: {expected}\n"
    assert not (kinetics / "x.list").exists()


def test_one_clip_in_two_classes_is_taken_once_and_named(capsys):
    clips = [
        kinetics_csv.Clip(label, "aaaaaaaaaaa", 1, 11, "train", line) for line, label in ((2, "yoga"), (3, "zumba"))
    ]
    assert make_list.unique_clips(clips) == (clips[:1], 1)
    assert "'yoga' in line 2, 'zumba' in line 3" in capsys.readouterr().err


@pytest.mark.parametrize("script", ["generate_label.py", "video2pkl.py", "make_list.py"])
def test_help_works_anywhere_and_without_paddle(tmp_path, script):
    (tmp_path / "paddle.py").write_text("raise ImportError('not for these tools')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, str(TOOLS / script), "--help"]
    done = subprocess.run(
        command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and "usage" in done.stdout, done.stderr
