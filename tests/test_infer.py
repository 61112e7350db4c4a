"""export.py and infer.py, as a user types them, with a tiny network on moving shapes."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import time
from pathlib import Path
from urllib.parse import unquote

import av
import numpy as np
import pytest
import yaml
from preloaded import PRELOADED

from video_zoo.infer import parse_arguments
from video_zoo.utils.paths import PROJECT


def tops(rows) -> dict[str, np.ndarray]:
    """video -> its probabilities by class."""
    return {
        row["video"]: np.array([each["probability"] for each in sorted(row["top"], key=lambda each: each["class"])])
        for row in rows
    }


def test_export_says_how_near_each_program_is(exported):
    target, said = exported
    for name in ("paddle-inference fp32", "onnxruntime fp32", "onnxruntime fp16", "openvino fp32"):
        assert f"{name}: top-1 100.0% the same of 3 clips" in said
    assert re.search(r"compared 3 clips, \S+ clips/s, 0:\d\d:\d\d in all", said)  # of up to 64
    assert f"{target} is ready" in said
    facts = yaml.safe_load((target / "inference.yaml").read_text(encoding="utf-8"))
    assert facts["labels"] == ["down", "left", "right", "up"] and facts["input"]["shape"] == [-1, 2, 3, 32, 32]
    assert facts["parity"]["openvino fp32"]["largest_difference"] < 1e-5
    assert sorted(path.name for path in target.glob("*.txt")) == ["label.txt"]


@pytest.mark.contract
def test_a_folder_a_pattern_and_files_give_the_same(infer, place):
    folder = tops(infer("--input", f"{place}/videos", "--engine=paddle")[1])
    assert sorted(Path(name).name for name in folder) == ["a b.mp4", 'it\'s "ok".mp4', "录像.mp4"]
    pattern = tops(infer("--input", f"{place}/videos/**/*.mp4", "--batch_size=2", "--engine=paddle")[1])
    assert folder.keys() == pattern.keys()
    assert all(np.abs(folder[name] - pattern[name]).max() < 1e-6 for name in folder)


def test_engines_of_a_deployment_folder_agree_with_the_network(infer, exported, place):
    flags = ("--input", f"{place}/videos")
    reference = tops(infer(*flags, "--engine=paddle")[1])
    for engine in ("openvino", "onnxruntime", "paddle-inference"):
        result, rows = infer(*flags, f"--engine={engine}", weights="exported")
        found = tops(rows)
        assert all(np.abs(reference[name] - found[name]).max() < 1e-5 for name in reference), engine
        assert f"engine {engine} (asked for)" in result.stdout
        assert ("Paddle 3" in result.stdout) == (engine == "paddle-inference")  # the others do without


@pytest.mark.contract
def test_auto_says_which_engine_and_why(infer, place):
    result, _ = infer("--input", f"{place}/videos/a b.mp4")
    assert "engine openvino (auto: the fastest here on CPUs): OpenVINO" in result.stdout
    assert "a b.mp4\n  " in result.stdout and "reader " in result.stdout and " compute " in result.stdout


def test_windows_page_and_annotated_video(infer, exported, place, tmp_path):
    video = f"{place}/videos/deep/录像.mp4"  # 50 frames at 25 a second
    result, rows = infer(
        *("--input", video, "--window_s=1", "--stride_s=0.5", f"--html={tmp_path}/page.html"),
        f"--save_video={tmp_path}/annotated",
        weights="exported",
    )
    assert [(row["start_s"], row["end_s"]) for row in rows] == [(0, 1), (0.5, 1.5), (1, 2)]
    with open(tmp_path / "TSM_infer_result.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["name_1"] for row in table] == [row["top"][0]["name"] for row in rows] and table[1]["start_s"] == "0.5"
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<p>weights " in page and re.search(r"<p>made \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00</p>", page)
    (linked, *_) = re.findall('<a href="([^"#]*)#t=0,1">', page)
    assert (tmp_path / unquote(linked)).samefile(video)
    assert page.count("<article") == 3 and page.count("data:image/jpeg") == 3 and "0.5-1.5 s" in page
    with av.open(str(tmp_path / "annotated/录像.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 50
    assert "录像.mp4  0.5-1.5 s" in result.stdout and not list(tmp_path.glob("*.partial.*"))


def test_a_killed_run_goes_on_where_it_was(infer, exported, place, moving_shapes, tmp_path):
    many = tmp_path / "many.list"
    lines = [line.split()[0] for line in (moving_shapes / "train.list").read_text().splitlines()]
    many.write_text("".join(f"{moving_shapes}/{line}\n" for line in lines * 20))
    flags = [
        f"--config={place}/tiny.yaml",
        f"--weights={place}/exported",
        f"--save_dir={tmp_path}",
        f"--filelist={many}",
        "--set=INFER.num_reader_threads=1",
    ]
    partial = tmp_path / "TSM_infer_result.partial.jsonl"
    with open(os.devnull, "w") as nowhere, PRELOADED.start(["infer.py", *flags], nowhere.fileno()) as process:
        while not partial.exists() or len(partial.read_bytes().splitlines()) < 20:
            assert process.poll() is None
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    done = len(partial.read_bytes().splitlines()) - 1
    assert 10 < done < len(lines) * 20
    result, rows = infer(f"--filelist={many}", "--resume=True", weights="exported")
    assert "predictions are there; " in result.stdout
    assert [row["video"] for row in rows] == many.read_text().splitlines()
    assert not list(tmp_path.glob("*.partial.*"))


def test_annotated_videos_of_a_list_have_names_of_their_own(infer, exported, place, tmp_path):
    """Paths relative to the list; the same name twice; a video whose annotation is missing on resume."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shutil.copy(place / "videos/a b.mp4", tmp_path / name / "a b.mp4")
    (tmp_path / "my.list").write_text("one/a b.mp4\ntwo/a b.mp4\none/a b.mp4\n")
    result, rows = infer(f"--filelist={tmp_path}/my.list", f"--save_video={tmp_path}/v", weights="exported")
    assert len(rows) == 3 and sorted(path.name for path in (tmp_path / "v").iterdir()) == ["a b.mp4", "a b_2.mp4"]
    (tmp_path / "v/a b.mp4").unlink()
    (tmp_path / "TSM_infer_result.jsonl").rename(tmp_path / "rows")
    made_with = infer_header(place, tmp_path, infer)
    (tmp_path / "TSM_infer_result.partial.jsonl").write_bytes(made_with + (tmp_path / "rows").read_bytes())
    before = (tmp_path / "v/a b_2.mp4").stat().st_mtime_ns
    flags = (f"--filelist={tmp_path}/my.list", f"--save_video={tmp_path}/v", "--resume=True")
    result, rows = infer(*flags, weights="exported")
    assert "0 videos are left" in result.stdout and len(rows) == 3
    assert (tmp_path / "v/a b.mp4").exists() and (tmp_path / "v/a b_2.mp4").stat().st_mtime_ns == before


def infer_header(place, folder, infer) -> bytes:
    """The first line of a partial file: that of a run which could not write its page."""
    page = folder / "page"
    page.mkdir()
    (page / "p.partial.html").mkdir()
    infer(f"--filelist={folder}/my.list", f"--html={page}/p.html", weights="exported", code=1)
    return (folder / "TSM_infer_result.partial.jsonl").read_bytes().splitlines(keepends=True)[0]


def test_an_annotated_video_never_replaces_a_video(infer, exported, place, tmp_path):
    (tmp_path / "some").mkdir()
    shutil.copy(place / "videos/a b.mp4", tmp_path / "some")
    before = (tmp_path / "some/a b.mp4").read_bytes()
    folder = str(tmp_path / "some")
    result, _ = infer("--input", folder, f"--save_video={folder}", code=1, weights="exported")
    assert "a b.mp4 is one of the videos; choose another folder" in result.stderr
    assert (tmp_path / "some/a b.mp4").read_bytes() == before


def test_a_video_that_cannot_be_annotated_is_an_error_at_the_end(infer, exported, place, tmp_path):
    blocked = tmp_path / "v"
    (blocked / "a b.mp4").mkdir(parents=True)
    result, rows = infer("--input", f"{place}/videos/a b.mp4", f"--save_video={blocked}", code=1, weights="exported")
    assert len(rows) == 1 and "1 videos could not be annotated" in result.stderr


def test_what_is_not_where_the_user_stands_is_looked_for_in_the_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    monkeypatch.setattr("sys.argv", ["infer.py", "--input", "configs", "models", "0", "rtsp://camera/1", "", "a*.mp4"])
    found = [str(PROJECT / "configs"), "models", "0", "rtsp://camera/1", "", "a*.mp4"]
    assert parse_arguments().input == found


def test_a_complete_result_is_not_begun_anew_by_resume(infer, exported, place, tmp_path):
    """The same command once more has nothing to do; one for other videos is refused."""
    infer("--input", f"{place}/videos", weights="exported")
    result, rows = infer("--input", f"{place}/videos", "--resume", weights="exported")
    assert "has the predictions of all 3 videos: nothing is left to do" in result.stdout and len(rows) == 3
    assert "Processed" not in result.stdout
    result, rows = infer("--input", f"{place}/videos", "--resume", code=1)
    assert "settings.json was made with other settings: " in result.stderr and "/weights" in result.stderr
    assert "leave out --resume, which begins anew" in result.stderr and len(rows) == 3
    result, rows = infer("--input", f"{place}/videos", __file__, "--resume", code=1, weights="exported")
    assert f"has nothing of 1 of 4 videos, the first is {__file__}: it could not be read" in result.stderr
    (tmp_path / "TSM_infer_result.settings.json").unlink()  # as an older version left it
    result, rows = infer("--input", f"{place}/videos", "--resume", weights="exported")
    assert "nothing is left to do" in result.stdout
    result, rows = infer("--input", f"{place}/videos/a b.mp4", "--resume=True", code=1, weights="exported")
    assert "is complete, and not all that is asked for" in result.stderr and len(rows) == 3
    result, rows = infer("--input", f"{place}/videos", "--resume", "--window_s=0.5", code=1, weights="exported")
    assert "is complete, and not all that is asked for" in result.stderr and len(rows) == 3


def test_resume_notices_other_weights(infer, exported, place, tmp_path):
    (tmp_path / "my.list").write_text(f"{place}/videos/a b.mp4\n")
    header = infer_header(place, tmp_path, infer)
    (tmp_path / "TSM_infer_result.partial.jsonl").write_bytes(header.replace(b'"state": "', b'"state": "0'))
    result, _ = infer(f"--filelist={tmp_path}/my.list", "--resume=True", code=1, weights="exported")
    assert "was made with other settings: state" in result.stderr


def test_a_finished_export_is_not_made_again(run_cli, exported, place):
    before = {path: path.stat().st_mtime_ns for path in exported[0].iterdir()}
    common = (f"--config={place}/tiny.yaml", f"--weights={place}/weights", "--input", f"{place}/videos")
    result = run_cli("export.py", *common, f"--save_dir={exported[0]}")  # without --fp16, which is there, too
    assert (
        result.returncode == 0 and "has paddle fp32, onnx fp32, onnx fp16, openvino fp32: nothing is" in result.stdout
    )
    assert before == {path: path.stat().st_mtime_ns for path in exported[0].iterdir()}
    damaged = Path(shutil.copytree(exported[0], place / "damaged"))
    (damaged / "model.onnx").write_bytes(b"half")
    result = run_cli("export.py", *common, f"--save_dir={damaged}", "--programs", "onnx", "--clips=1")
    assert result.returncode == 0 and f"{damaged} is made anew: it was made with other videos to comp" in result.stdout
    assert "not asked for now will be gone: paddle fp32, onnx fp16, openvino fp32" in result.stdout
    assert sorted(path.name for path in damaged.iterdir()) == [
        "config.yaml",
        "inference.yaml",
        "label.txt",
        "model.onnx",
    ]


def test_export_replaces_nothing_that_is_not_its_own(run_cli, exported, place):
    shutil.copytree(exported[0], place / "kept", dirs_exist_ok=True)
    (place / "kept/important.txt").write_text("precious")
    common = (f"--config={place}/tiny.yaml", f"--weights={place}/weights", f"--save_dir={place}/kept")
    result = run_cli("export.py", *common, "--input", f"{place}/videos")
    assert result.returncode == 1 and "holds important.txt, too" in result.stderr
    assert (place / "kept/important.txt").read_text() == "precious"


def test_a_run_that_predicts_nothing_replaces_nothing(infer, exported, place, tmp_path):
    out, broken = tmp_path / "v/text.mp4", tmp_path / "text.mp4"
    files = [out, tmp_path / "page.html", *(tmp_path / f"TSM_infer_result.{end}" for end in ("jsonl", "csv", "pkl"))]
    out.parent.mkdir()
    for file in files:
        file.write_text('{"of": "an earlier run"}')
    broken.write_text("no video")
    flags = (f"--html={tmp_path}/page.html", f"--save_video={tmp_path}/v")
    result, _ = infer("--input", str(broken), *flags, code=1, weights="exported")
    assert "text.mp4: it is no video" in result.stderr and "results: " not in result.stdout
    assert all(file.read_text() == '{"of": "an earlier run"}' for file in files)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*(file.name for file in files[1:]), "text.mp4", "v"]
    )


def test_a_stream_that_cannot_be_opened_replaces_nothing(infer, exported, place, tmp_path):
    files = [tmp_path / "page.html", *(tmp_path / f"TSM_infer_result.{end}" for end in ("jsonl", "csv", "pkl"))]
    for file in files:
        file.write_text('{"of": "an earlier run"}')
    flags = ("--window_s=0.5", "--duration_s=1", f"--html={tmp_path}/page.html")  # nobody answers at the address
    result, _ = infer("--input", "http://127.0.0.1:9/live.ts", *flags, code=1, weights="exported")
    assert "live.ts" in result.stdout and "results: " not in result.stdout and "Traceback" not in result.stderr
    assert all(file.read_text() == '{"of": "an earlier run"}' for file in files)
    assert sorted(tmp_path.iterdir()) == sorted(files)


def test_one_bad_video_leaves_the_others(infer, exported, place, tmp_path):
    folder = tmp_path / "some"
    shutil.copytree(place / "videos", folder)
    (folder / "text.mp4").write_text("no video")
    result, rows = infer("--input", str(folder), code=1, weights="exported")
    assert len(rows) == 3 and "text.mp4: it is no video" in result.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--input", "{place}/weights"], "no videos"),
        (["--input", "nowhere.mp4"], "nowhere.mp4"),
        (["--input", "http://127.0.0.1:9/live"], "--window_s=2 predicts every 2 seconds"),
        (
            ["--input", "0", "rtsp://me:pass@h/1", "--window_s=1"],
            "one stream a run, and nothing beside it; given: 0 rtsp://***@h/1",
        ),
        (["--input", "{place}/videos", "--duration_s=3"], "--duration_s is of a stream"),
        (["--input", "{place}/videos", "--engine=openvin"], "did you mean OPENVINO?"),
        (["--input", "{place}/videos", "--engine=tensorrt"], "--engine=tensorrt: it does not compute on a CPU"),
        (["--input", "{place}/videos", "--precision=int8"], "export.py --int8=True makes one"),
        (["--input", "{place}/videos", "--precision=fp16"], "no engine computes fp16 on this CPU"),
        (["--input", "{place}/videos", "--precision=tf32"], "onnxruntime: it has no tf32 on a CPU, only fp32"),
        (["--input", "{place}/videos", "--set", "MODEL.class_names={place}/two.txt"], "two.txt names 2 classes"),
        (["--input", "0", "--window_s=1", "--save_video=v"], "--save_video is for video files"),
        (
            ["--input", "{place}/videos", "--html={place}/videos", "--engine=paddle"],
            "is a folder: give the page's file",
        ),
        (["--input", "0", "--window_s=1", "--resume=True"], "--resume=True is for lists of video files"),
    ],
)
def test_a_wrong_flag_is_one_message(run_cli, place, tmp_path, flags, message):
    (place / "two.txt").write_text("one 0\ntwo 1\n")
    given = [flag.format(place=place) for flag in flags]
    common = (f"--config={place}/tiny.yaml", f"--weights={place}/weights", f"--save_dir={tmp_path}")
    result = run_cli("infer.py", *common, *given)
    assert result.returncode == 1 and message in result.stderr and result.stderr.count("\n") <= 8, result.stderr
    assert "Traceback" not in result.stderr and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--set", "INFER.target_size=24"], "and cannot change: a clip's size"),
        (["--set", "MODEL.num_classes=400"], "and cannot change: MODEL.num_classes"),
        (["--set", "MODEL.shift=uni", "--set", "MODEL.dropout=0.1"], "cannot change: MODEL.shift, MODEL.dropout"),
        (["--engine=paddle"], "is a deployment folder"),
        (["--model_name=TSN"], "config.yaml is of TSM, and --model_name is TSN"),
    ],
)
def test_a_deployment_folder_is_what_it_is(infer, exported, place, flags, message):
    result, _ = infer("--input", f"{place}/videos", *flags, code=1, weights="exported")
    assert message in result.stderr


def test_a_damaged_deployment_folder_is_named(infer, exported, place):
    broken = place / "broken"
    shutil.copytree(exported[0], broken, dirs_exist_ok=True)
    with open(broken / "openvino_fp32.bin", "r+b") as file:
        file.truncate(os.path.getsize(broken / "openvino_fp32.bin") - 100)
    result, _ = infer("--input", f"{place}/videos", code=1, weights="broken")
    assert "openvino_fp32.bin is damaged: copy the folder again" in result.stderr


def test_export_refuses_int8_that_is_too_far(run_cli, place, tmp_path, unreported):
    """As that of an untrained network is."""
    pytest.importorskip("nncf")
    common = (f"--config={place}/tiny.yaml", f"--weights={place}/weights", f"--save_dir={tmp_path}/out")
    flags = ("--programs", "openvino", "--int8=True", "--calibration_clips=4", "--input", f"{place}/videos")
    result = run_cli("export.py", *common, *flags)
    assert result.returncode == 1 and "openvino in int8 is too far from the network: top-1" in result.stderr
    assert "Nothing was written" in result.stderr and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--save_dir={place}/videos"], "is there, and no deployment folder"),
        (["--input", "{place}/weights"], "no videos"),
        (["--input", "rtsp://127.0.0.1/1"], "rtsp://127.0.0.1/1 is a stream"),
        (["--calibration=x.list"], "--calibration is of --int8=True"),
        (["--programs", "paddle", "--int8=True"], "add openvino to --programs"),
        (["--programs", "paddle", "--fp16=True"], "add onnx to --programs"),
    ],
)
def test_export_refuses_what_makes_no_sense(run_cli, place, tmp_path, flags, message):
    given = [flag.format(place=place) for flag in flags]
    common = (f"--config={place}/tiny.yaml", f"--weights={place}/weights", f"--save_dir={tmp_path}/out")
    result = run_cli("export.py", *common, *given)
    assert result.returncode in (1, 2) and message in result.stderr and "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())
