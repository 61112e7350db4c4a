"""Names without regard to case, and messages that name the nearest known word."""

from __future__ import annotations

import dataclasses
import re
import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_zoo.configs.schema import Config
from video_zoo.engine.backends import ENGINES
from video_zoo.engine.backends.base import PRECISIONS
from video_zoo.models import MODELS
from video_zoo.utils.errors import InputError
from video_zoo.utils.meanings import _MEANT, nearest
from video_zoo.utils.registry import Registry, did_you_mean

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def zoo() -> Registry[int]:
    registry: Registry[int] = Registry("model")
    registry.add("TSN", 2)
    registry.add("Temporal_Shift", 1)
    return registry


@given(upper=st.lists(st.booleans(), min_size=14, max_size=14))
def test_case_does_not_matter(upper):
    registry: Registry[object] = Registry("model")
    entry = object()
    registry.add("Temporal_Shift", entry)
    name = "".join(c.upper() if up else c.lower() for c, up in zip("temporal_shift", upper))
    assert registry.get(name) is entry
    with pytest.raises(ValueError, match=f"two models named {name}"):
        registry.add(name, entry)


def test_names_are_sorted(zoo):
    assert zoo.names() == ["TEMPORAL_SHIFT", "TSN"]
    assert zoo.get("tsn") == 2


def test_a_taken_name_keeps_its_entry(zoo):
    with pytest.raises(ValueError):
        zoo.add("tsn", 3)
    assert zoo.get("TSN") == 2


def test_an_unknown_name_lists_the_known_ones_and_the_nearest(zoo):
    with pytest.raises(InputError) as caught:
        zoo.get("tsnn")
    assert str(caught.value) == "no model named 'tsnn'; did you mean TSN? Known: TEMPORAL_SHIFT, TSN."
    with pytest.raises(InputError) as caught:
        zoo.get("C3D")
    assert str(caught.value) == "no model named 'C3D'. Known: TEMPORAL_SHIFT, TSN."


def test_did_you_mean():
    assert did_you_mean("batchsize", ["buf_size", "batch_size"]) == "; did you mean batch_size?"
    assert did_you_mean("xyz", ["buf_size", "batch_size"]) == "."
    assert did_you_mean("xyz", []) == "."


@pytest.mark.parametrize(
    ("word", "known", "near"),
    [
        ("lr", ["lr_schedule", "learning_rate"], "learning_rate"),
        ("EPOCHS", ["epoch", "save_dir"], "epoch"),
        ("--num-workers", ["--workers", "--timeout_s"], "--workers"),
        ("num_workers", ["num_reader_threads"], "num_reader_threads"),
        ("checkpoint", ["resume", "pretrain"], "resume"),
        ("checkpoint", ["resume", "weights"], "weights"),
        ("val", ["TRAIN", "VALID"], "VALID"),
        ("Batch-Size", ["batch_size"], "batch_size"),
        ("num_gpus", ["num_classes_of_another_network"], None),  # what is not there is not offered
    ],
)
def test_words_of_other_projects(word, known, near):
    assert nearest(word, known) == near


def test_every_meaning_is_a_word_of_this_project():
    """A flag, a key, a section or a value of one; a word that means itself first would hide the others."""
    kinds = [*typing.get_type_hints(Config).items(), *(("MODEL", entry.config) for _, entry in MODELS.items())]
    fields = [field for _, kind in kinds for field in dataclasses.fields(kind)]
    words = {name for name, _ in kinds} | {field.name for field in fields}
    words |= {str(value) for field in fields for value in field.metadata["choices"] or ()}
    words |= {*PRECISIONS, *map(str.lower, ENGINES.names())}
    for path in (*ROOT.glob("*.py"), *ROOT.glob("[a-z]*/*.py"), *ROOT.glob("[a-z]*/[a-z]*/*.py")):
        words |= set(re.findall(r'"--(\w+)"', path.read_text(encoding="utf-8")))
    words |= {"labels", "list", "out_dir"}  # of tools, some of them without dashes
    assert {each for meanings in _MEANT.values() for each in meanings} <= words
