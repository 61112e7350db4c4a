"""What weights say of themselves: a checkpoint alone is enough to use it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from deployed import settled_network
from preloaded import PRELOADED
from tiny import values_of

from video_zoo.configs.schema import Config
from video_zoo.engine.settings import find_settings
from video_zoo.utils.errors import InputError
from video_zoo.utils.fluid_vars import write_folder

NAMES = ["down", "left", "right", "up"]


def older(checkpoint: Path, folder: Path) -> Path:
    """The checkpoint as version 0.2 wrote it."""
    info = json.loads((checkpoint / "checkpoint.json").read_text())
    said = {name: info[name] for name in ("model", "classes", "epoch", "global_step", "best_top1", "MODEL")}
    folder.mkdir(parents=True)
    write_folder(folder, values_of(settled_network()), said)
    return folder


def of(weights: object, **options: object) -> tuple[Config, list[str]]:
    found = find_settings(str(weights), {"INFER": {}, "TEST": {}}, "infer", **options)
    return found.settings, found.names


def test_a_checkpoint_says_network_classes_and_sizes(checkpoint):
    settings, names = of(checkpoint)
    assert (settings.MODEL.name, settings.MODEL.num_layers, settings.clip_shape("infer")) == ("TSM", 18, (2, 3, 32, 32))
    assert names == NAMES


def test_a_config_and_flags_replace_parts_of_it(checkpoint, tmp_path):
    (tmp_path / "mine.yaml").write_text("INFER: {short_size: 48}\nTEST: {protocol: twice3}")
    settings, _ = of(checkpoint, file=str(tmp_path / "mine.yaml"), settings=["INFER.target_size=40"])
    assert (settings.INFER.short_size, settings.INFER.target_size, settings.MODEL.seg_num) == (48, 40, 2)
    assert (settings.TEST.protocol, settings.TEST.short_size) == ("twice3", 256)  # the protocol's own


@pytest.mark.parametrize("given", [{"model_name": "TSN"}, {"file": "configs/tsn.txt"}])
def test_another_network_is_one_message(checkpoint, given):
    with pytest.raises(InputError, match="two models at once: .*checkpoint.json is of TSM, and .* TSN$"):
        of(checkpoint, **given)


def test_a_name_is_the_released_weights_unless_a_folder_has_it(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = find_settings("tsm", {"INFER": {}}, "infer")
    assert (found.weights, found.settings.MODEL.name, len(found.names)) == (None, "TSM", 400)
    with pytest.raises(InputError, match="two models at once: --weights=tsm are the released ones"):
        of("tsm", model_name="TSN")
    with pytest.raises(InputError, match="no weights at TSNN: .* or a model's name; did you mean TSN?"):
        of("TSNN")
    shutil.copytree(checkpoint, tmp_path / "zoo/mine")
    with pytest.raises(InputError, match="zoo holds no weights; did you mean .*zoo/mine?"):
        of(tmp_path / "zoo")
    shutil.copytree(checkpoint, tmp_path / "tsm")
    assert of("tsm", model_name="TSM")[1] == NAMES


def test_paths_in_it_are_found_beside_it(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    moved = Path(shutil.copytree(checkpoint.parent, tmp_path / "moved")) / checkpoint.name
    assert of(moved)[0].TEST.filelist == "lists/val.list"
    (moved.parent / "lists").mkdir()
    (moved.parent / "lists/val.list").touch()
    assert of(moved)[0].TEST.filelist == str(moved.parent / "lists/val.list")
    (moved.parent / "config.yaml").write_text("MODEL: {name: TSM, class_names: names.txt, num_classes: 2}")
    (moved.parent / "names.txt").write_text("a 0\nb 1\n")
    assert of(older(checkpoint, tmp_path / "old"), file=str(moved.parent / "config.yaml"))[1] == ["a", "b"]


def test_an_older_one_needs_a_config_and_says_which(checkpoint, place, tmp_path):
    old = older(checkpoint, tmp_path / "old/TSM_best")
    with pytest.raises(InputError, match="older version.*--config=FILE, or --model_name=TSM$"):
        of(old)
    shutil.copy(place / "tiny.yaml", tmp_path / "old/config.yaml")
    with pytest.raises(InputError, match=f"give --config={tmp_path}/old/config.yaml$"):
        of(old)
    assert of(old, file=str(place / "tiny.yaml"))[0].clip_shape("infer") == (2, 3, 32, 32)
    assert of(old, model_name="TSM")[0].clip_shape("infer") == (8, 3, 224, 224)


def test_names_may_stand_in_the_config(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("MODEL: {name: TSM, num_classes: 2, class_names: [yes sir, 5]}")
    assert find_settings(None, {}, "infer", file=str(path)).names == ["yes sir", "5"]
    wrong = {"[a, a]": "has a name twice: 'a'", "[a]": "names 1 classes", "[[a]]": "text or a list"}
    for names, message in wrong.items():
        path.write_text(f"MODEL: {{name: TSM, num_classes: 2, class_names: {names}}}")
        with pytest.raises(InputError, match=message):
            find_settings(None, {}, "infer", file=str(path))


def test_infer_test_and_export_need_nothing_else_from_any_folder(checkpoint, place, moving_shapes, tmp_path):
    video, cpu = f"--input={place}/videos/a b.mp4", "--use_gpu=False"
    for command in (
        ("infer.py", video, "--engine=paddle"),
        ("test.py", f"--filelist={moving_shapes}/val.list"),
        ("export.py", video, "--programs", "onnx", "--save_dir=exported"),
    ):
        script = (str(Path(__file__).parents[1] / command[0]), f"--weights={checkpoint}", cpu, *command[1:])
        done = PRELOADED.run(script, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    row = json.loads((tmp_path / "TSM_infer_result.jsonl").read_text())
    assert {each["name"] for each in row["top"]} == set(NAMES)
    done = PRELOADED.run((script[0].replace("export", "infer"), f"--weights={tmp_path}/exported", video), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
