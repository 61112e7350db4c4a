"""YAML whose aliases, levels and numbers have bounds; what plain documents hold, tests/test_config.py has."""

from __future__ import annotations

import pytest

from video_zoo.utils.yaml_files import parse_yaml


def repeated(form: str) -> str:
    """YAML that has 9 times as many values in each of 12 levels."""
    lines = ["- &z0 {a: 1}"]
    lines += [f"- &z{n} " + form.format(", ".join([f"*z{n - 1}"] * 9)) for n in range(1, 13)]
    return "\n".join(lines)


@pytest.mark.parametrize("form", ["[{0}]", "{{b: [{0}]}}", "{{<<: [{0}]}}", "{{? [{0}] : 1}}"])
def test_aliases_that_multiply_are_refused(form):
    """Before anything is made of them: the values of the merge keys would be copied."""
    with pytest.raises(ValueError, match=r"its aliases \(\*NAME\) repeat more than 100,000 values"):
        parse_yaml(repeated(form))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "expected the node content"),
        ("[" * 33 + "]" * 33, "nested too deeply"),
        ("[" * 600, "nested too deeply"),
        ("a: &a [*a]", "an alias is within what it repeats"),
        ("a: " + "9" * 5000, "more than 64 bits"),
        ("a: " + "1:" * 100_000 + "1", "more than 64 bits"),
        ("a: 0x" + "f" * 17, "more than 64 bits"),
        ("a: {? 9999999999999999999999 : 1}", "more than 64 bits"),
        ("a: !!int ''", "does not fit its tag"),
        ("a: !!timestamp x", "does not fit its tag"),
        ("a: !!bool x", "does not fit its tag"),
        ("a: 2024-13-45", "month"),
        ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a: 1\n--- 2", "single document"),
    ],
    ids=lambda text: text[:30],
)
def test_what_is_no_plain_yaml(text, message):
    with pytest.raises(ValueError, match=message):
        parse_yaml(text)


def test_what_is_plain():
    assert parse_yaml("") is None and parse_yaml("- &a [1]\n- *a\n- {<<: {b: 2}}") == [[1], [1], {"b": 2}]
    assert len(parse_yaml("- a\n" * 5_000)) == 5_000
    assert parse_yaml("[" * 32 + "]" * 32) is not None
    assert parse_yaml("9223372036854775807") == (1 << 63) - 1
