"""Names without regard to case, and messages that name the nearest known word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_zoo.utils.errors import InputError
from video_zoo.utils.registry import Registry, did_you_mean


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
