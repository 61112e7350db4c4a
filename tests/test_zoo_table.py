"""The table of the networks: what is published agrees with what is counted, and the guides name every network."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from video_zoo.models import MODELS, build_network
from video_zoo.models.cost import multiply_adds

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmark"))

from zoo_networks import ENTRIES  # noqa: E402


@pytest.mark.parametrize("name", ["s3d-16", "r2plus1d-18", "mc3-18"])
def test_published_gflops_are_counted(name):
    """Those of few operations; benchmark/zoo.py says it of the others."""
    entry = ENTRIES[name]
    counted = multiply_adds(build_network(entry.settings(), "infer"), entry.clips().shape[1:]) / 1e9
    assert counted == pytest.approx(entry.gflops, rel=0.02)


def test_every_network_has_a_clip_that_it_takes():
    for entry in ENTRIES.values():
        settings = entry.settings()
        clips = MODELS.get(settings.MODEL.name).clips
        assert settings.clip_shape("infer") == (entry.frames, 3, entry.size, entry.size)
        if clips:
            clips.check(settings.MODEL.name, settings, "infer")
    assert {entry.settings().MODEL.name.upper() for entry in ENTRIES.values()} == {name for name, _ in MODELS.items()}


@pytest.mark.parametrize("file", ["networks.md", "networks_cn.md"])
def test_the_guides_name_every_network(file):
    """And its limits, and in the table of costs the figures of benchmark/zoo_networks.py."""
    lines = (ROOT / "docs" / file).read_text(encoding="utf-8").splitlines()
    rows = [cells for cells in (line.strip("| ").split(" | ") for line in lines) if len(cells) > 1]
    for name, spec in MODELS.items():
        limits_told = next(cells[-1] for cells in rows if cells[0] == f"`{name}`")
        if spec.clips:
            limits = spec.clips
            most = (limits.frames, limits.most_frames, limits.pixels, limits.most_pixels)
            numbers = [number for number in most if number and number > 1]
            assert [*map(int, re.findall(r"\d+", limits_told))] == numbers
    for entry in ENTRIES.values():
        cells = next(cells for cells in rows if cells[:2] == [entry.title, entry.clip])
        published = f"{entry.gflops:.2f}" if entry.gflops else "-"
        assert (cells[4], cells[6]) == (published, str(entry.top1 or "-"))
