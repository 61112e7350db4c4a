"""deploy/: what can be copied elsewhere says the same as infer.py."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from media import LISTS, encode_images, make_video, moving, set_display_matrix
from preloaded import ONE_THREAD
from test_triton import NO_DESCRIPTIONS, written_programs
from test_video_file import with_cover, with_late_sound

from video_zoo.datareader.decode import decode_video
from video_zoo.datareader.sampling import segment_indices
from video_zoo.utils.runtime import describe_processor

ROOT = Path(__file__).resolve().parents[1]
OTHER_PROCESSOR = "checked on Another; this one differs in avx9\n"


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_example_predicts_what_infer_predicts(run_cli, infer, place, exported, tmp_path, unreported, engine):
    videos = sorted(str(path) for path in (place / "videos").rglob("*.mp4"))
    folder = exported[0]
    if engine == "onnxruntime":
        folder = Path(shutil.copytree(folder, tmp_path / "exported"))
        said = yaml.safe_load((folder / "inference.yaml").read_text(encoding="utf-8"))
        del said["programs"]["openvino"]
        assert said["checked_on"] == describe_processor()
        said["checked_on"] = {"processor": "Another", "instructions": {"avx9": True}}
        (folder / "inference.yaml").write_text(yaml.safe_dump(said), encoding="utf-8")
    script = str(copy_of(ROOT / "deploy/predict.py", tmp_path))
    result = run_cli(script, str(folder), *videos, **ONE_THREAD)  # in its own process, where it imports OpenVINO itself
    assert result.returncode == 0, result.stderr
    said = re.findall(r"^(\S.*\.mp4)\n\s+([\d.]+)%  (\w+)", result.stdout, re.MULTILINE)
    assert (OTHER_PROCESSOR in result.stderr) == (engine == "onnxruntime")
    _, rows = infer("--input", *videos, f"--engine={engine}", weights="exported")
    wanted = [(row["video"], f"{100 * row['top'][0]['probability']:.2f}", row["top"][0]["name"]) for row in rows]
    assert [(video, name) for video, _, name in said] == [(video, name) for video, _, name in wanted]
    assert all(abs(float(one[1]) - float(other[1])) < 0.02 for one, other in zip(said, wanted))


@pytest.fixture(scope="module")
def example():
    """deploy/predict.py as a module."""
    spec = importlib.util.spec_from_file_location("predict", ROOT / "deploy/predict.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SAMPLING = {"segments": 3, "consecutive_frames": 1}


@pytest.mark.parametrize(
    "kind",
    [
        "interlaced",
        "BT.709",
        "turned",
        "mirrored",
        "odd height",
        "10 bits",
        "cover picture",
        "upside down",
        "late sound",
    ],
)
def test_the_example_reads_the_frames_that_infer_reads(example, tmp_path, kind):
    frames, path, options = moving(12), tmp_path / "a.mp4", {}
    if kind == "odd height":
        frames, path = moving(12, 63, 96), tmp_path / "a.webm"
    options["codec"] = "libvpx-vp9" if kind == "odd height" else "libx264"
    options["pix_fmt"] = "yuv420p10le" if kind == "10 bits" else "yuv420p"
    if kind == "upside down":
        path = tmp_path / "a.avi"
        options = {"codec": "amv", "pix_fmt": "yuvj420p", "codec_options": {"strict": "-1"}}
    if kind == "interlaced":
        options["codec_options"] = {"x264-params": "tff=1"}
    if kind == "BT.709":
        options["set_up"] = lambda stream: setattr(stream.codec_context, "colorspace", 1)
    make_video(path, frames, **options)
    if kind in ("turned", "mirrored"):
        set_display_matrix(path, *((0, -1, 1, 0) if kind == "turned" else (-1, 0, 0, 1)))
    if kind == "cover picture":
        path.write_bytes(with_cover(path.read_bytes(), encode_images(frames[:1])[0]))
    if kind == "late sound":
        path = with_late_sound(tmp_path / "a.ts")
    wanted = decode_video(path, lambda count: segment_indices(count, 3)).frames
    assert np.array_equal(example.read_frames(str(path), SAMPLING), wanted)


@pytest.mark.parametrize("name", LISTS)
def test_the_example_reads_no_list_of_other_files(example, tmp_path, name):
    make_video(tmp_path / "a.ts", moving(8))
    (tmp_path / name).write_text(LISTS[name])
    with pytest.raises(SystemExit, match=f"{name} is no video, or cannot be read"):
        example.read_frames(str(tmp_path / name), SAMPLING)


@pytest.mark.parametrize(("kind", "file"), [("openvino", "openvino_fp32.bin"), ("onnx", "model.onnx")])
def test_the_example_finds_a_changed_bit_of_a_program(example, tmp_path, kind, file):
    """Before it is loaded."""
    programs = written_programs(tmp_path)
    (tmp_path / file).write_bytes(b"a progran")
    said = yaml.safe_load((tmp_path / "inference.yaml").read_text())
    with pytest.raises(SystemExit, match=f"^error: {tmp_path / file} is damaged: copy the folder again, or export"):
        example.load_program(tmp_path, {kind: programs[kind]}, said["checksums"])


GOOD = {
    "programs": {"onnx": {"fp32": "model.onnx"}},
    "checksums": {"model.onnx": "00"},
    "sampling": {"segments": 2, "consecutive_frames": 1, "frame_stride": 1},
    "scaling": {"shorter_side": 32, "keep_aspect": True, "crop_size": 32},
    "output": {"name": "probabilities", "shape": [-1, 2]},
    "labels": ["jump rope", "漢字"],
}


def test_the_example_takes_what_export_writes(example, exported):
    example.check(GOOD)
    assert example.read_description(exported[0] / "inference.yaml")["model"] == "TSM"


@pytest.mark.parametrize(
    "change",
    [{"programs": {"onnx": {"fp32": name}}} for name in ("../evil.onnx", "/evil.onnx", "other.onnx", "..", "", 3)]
    + [{"checksums": value} for value in ({}, None, "model.onnx", {"model.onnx": "00", "../evil.onnx": "00"})]
    + [{"sampling": {"segments": 2}}, {"sampling": [2]}, {"scaling": {**GOOD["scaling"], "crop_size": "32"}}]
    + [{"labels": value} for value in (None, "ab", [1, 2], ["one"])]
    + [{"programs": None}, {"checked_on": []}, {"checked_on": {"instructions": ["avx2"]}}],
)
def test_the_example_refuses_what_export_does_not_write(example, tmp_path, monkeypatch, change):
    """Before anything is loaded."""
    monkeypatch.setattr(example, "load_program", lambda *_: pytest.fail("a program is loaded"))
    for said in ({**GOOD, **change}, [change], None):
        (tmp_path / "inference.yaml").write_text(yaml.safe_dump(said), encoding="utf-8")
        with pytest.raises(SystemExit, match=r"^error: .*inference\.yaml is damaged: ") as caught:
            example.main(tmp_path, ["a.mp4"])
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize("kind", NO_DESCRIPTIONS)
def test_the_example_refuses_what_is_no_plain_yaml(example, tmp_path, kind):
    (tmp_path / "inference.yaml").write_text(NO_DESCRIPTIONS[kind])
    with pytest.raises(SystemExit, match=r"^error: .*inference\.yaml is damaged: "):
        example.main(tmp_path, ["a.mp4"])


def test_a_folder_that_is_not_there_is_said(run_cli, tmp_path):
    result = run_cli("deploy/predict.py", str(tmp_path / "none"), "a.mp4")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1) and "none/inference.yaml" in result.stderr


def copy_of(script, folder):
    """The script where nothing of the project is beside it."""
    return Path(shutil.copy(script, folder))
