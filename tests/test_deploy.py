"""deploy/: what can be copied elsewhere says the same as infer.py."""

from __future__ import annotations

import importlib.util
import json
import re
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from media import LISTS, encode_images, make_video, moving, set_display_matrix
from test_video_file import with_cover, with_late_sound

from video_zoo.datareader.decode import decode_video
from video_zoo.datareader.sampling import segment_indices
from video_zoo.engine.deployment import Deployment
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
    result = run_cli(str(copy_of(ROOT / "deploy/predict.py", tmp_path)), str(folder), *videos)
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


@pytest.mark.parametrize(("kind", "files"), [("onnx", ["model.onnx"]), ("openvino", ["model.bin", "model.xml"])])
def test_a_triton_repository_fits_its_program(run_cli, exported, tmp_path, kind, files):
    result = run_cli(
        str(copy_of(ROOT / "deploy/triton.py", tmp_path)), str(exported[0]), str(tmp_path / "models"), kind
    )
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "models/tsm"
    assert sorted(path.name for path in (folder / "1").iterdir()) == files
    assert (folder / "labels.txt").read_text() == "down\nleft\nright\nup\n"
    config = (folder / "config.pbtxt").read_text()
    backend = {"onnx": "onnxruntime", "openvino": "openvino"}[kind]
    assert f'backend: "{backend}"' in config and json.loads(re.search(r"TYPE_UINT8 dims: (\[.*?\])", config)[1]) == [
        2,
        3,
        32,
        32,
    ]
    program = exported[0] / {"onnx": "model.onnx", "openvino": "openvino_fp32.xml"}[kind]
    assert (folder / "1" / f"model{program.suffix}").read_bytes() == program.read_bytes()


@pytest.mark.parametrize("file", ["openvino_fp32.bin", "model.onnx"])
def test_a_changed_bit_of_a_program_is_found(run_cli, tmp_path, file):
    """Before anything is loaded or copied."""
    programs = {"openvino": {"fp32": "openvino_fp32.xml"}, "onnx": {"fp32": "model.onnx"}}
    for name in ("openvino_fp32.xml", "openvino_fp32.bin", "model.onnx"):
        (tmp_path / name).write_bytes(b"a program")
    Deployment(tmp_path, "TSM", ["a", "b"], (8, 3, 224, 224), programs).write()
    (tmp_path / file).write_bytes(b"a progran")
    kind = "onnx" if file.endswith(".onnx") else "openvino"
    result = run_cli("deploy/triton.py", str(tmp_path), str(tmp_path / "models"), kind)
    wanted = f"error: {tmp_path / file} is damaged: copy the folder again, or export it again"
    assert (result.returncode, result.stderr) == (1, wanted + "\n") and not (tmp_path / "models").exists()
    predict = runpy.run_path(str(ROOT / "deploy/predict.py"))
    said = yaml.safe_load((tmp_path / "inference.yaml").read_text())
    with pytest.raises(SystemExit, match=f"^{wanted}$"):
        predict["load_program"](tmp_path, {kind: programs[kind]}, said["checksums"])


def test_a_kind_that_is_not_there_is_said(run_cli, exported, tmp_path):
    result = run_cli("deploy/triton.py", str(exported[0]), str(tmp_path / "models"), "paddle")
    assert result.returncode == 1 and "onnx or openvino will do" in result.stderr and not list(tmp_path.iterdir())


def copy_of(script, folder):
    """The script where nothing of the project is beside it."""
    return Path(shutil.copy(script, folder))
