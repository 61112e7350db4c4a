"""What benchmark/zoo_accuracy.py keeps and draws; it trains nothing here."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest
from zoo_accuracy import NETWORKS, best, draw, show, start_weights

from video_zoo.configs.schema import Config
from video_zoo.models import MODELS, build_network
from video_zoo.utils import cli, config
from video_zoo.utils.errors import InputError

SVG = "{http://www.w3.org/2000/svg}"


def result(top1: float, gflops: float, loss: float = 1.0, rate: float = 0.02) -> dict:
    interval = {"value": top1, "low": top1 - 0.05, "high": top1 + 0.05}
    spent = {"train_s": 60.0, "train_cpu_s": 50.0, "parameters": 700_000, "clip": "8 x 56 px"}
    return {"top1": interval, "gflops": gflops, "loss": loss, "rate": rate, "weights": f"w{rate}", **spent}


def test_the_rate_with_the_lowest_training_loss_is_kept(tmp_path):
    with pytest.raises(InputError, match='TSM-18 uni must be trained on "direction" before "order"'):
        start_weights(tmp_path, "order", "TSM-18 uni")
    for rate, loss in ((0.02, 1.2), (0.05, 0.4)):
        folder = tmp_path / f"results_direction/TSM-18_uni/{rate}"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(result(0.9, 0.1, loss, rate)))
    assert best(tmp_path, "direction", "TSM-18 uni")["rate"] == 0.05
    assert best(tmp_path, "order", "TSM-18 uni") is None
    assert start_weights(tmp_path, "direction", "TSM-18 uni") == "none"
    assert start_weights(tmp_path, "order", "TSM-18 uni") == "w0.05"


def test_the_picture_has_a_mark_for_each_result(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("shutil.which", lambda name: None)
    found = {
        "TSN-18": {"direction": result(0.25, 0.08), "order": result(0.3, 0.08)},
        "TSM-18": {"direction": result(0.95, 0.08), "order": None},
        "S3D": {"direction": result(0.95, 1.2), "order": None},
    }
    draw(tmp_path / "a.svg", found, ["direction", "order"])
    tree = ElementTree.parse(tmp_path / "a.svg")
    marks = [[float(mark.get(key)) for key in ("cx", "cy")] for mark in tree.iter(f"{SVG}circle")]
    assert len(marks) == 4 and not (tmp_path / "a.png").exists()
    (tsm_x, tsm_y), (s3d_x, s3d_y), (tsn_x, tsn_y), _ = marks
    assert tsm_x == tsn_x < s3d_x and tsm_y == s3d_y < tsn_y
    show(found, ["direction", "order"])
    row = "| S3D | 8 x 56 px | 0.70 | 1.200 | 60 | 50 | 0.02 | 0.950 (0.900 to 1.000) | not trained |"
    assert row in capsys.readouterr().out


@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_takes_its_clips(name, tmp_path):
    """Its config is valid, for training too."""
    (tmp_path / "label.txt").write_text("".join(f"c{number} {number}\n" for number in range(4)))
    file = tmp_path / "given.yaml"
    file.write_text(json.dumps(NETWORKS[name].files(tmp_path, 0.02, 6)))
    settings = config.load(str(file), Config, {}, cli.model_sections(MODELS), NETWORKS[name].model)
    for mode in ("train", "test"):
        build_network(settings, mode)
