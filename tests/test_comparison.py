"""Two evaluations of one list, video by video, and the mean over several lists."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import ROOT
from evaluations import make_evaluation, make_facts
from hypothesis import given
from hypothesis import strategies as st

from video_zoo.engine.comparison import Change, compare, mean_over, run_compare, run_mean
from video_zoo.engine.evaluation_files import Summary, write_evaluation
from video_zoo.engine.stored_evaluation import StoredEvaluation, read_evaluation
from video_zoo.metrics.statistics import mcnemar, paired_difference
from video_zoo.utils.errors import InputError

NAMES = ["abseiling", "yoga", "zumba"]


@pytest.fixture(autouse=True)
def pages(monkeypatch):
    """Pages that are quickly written."""
    page, comparison = ModuleType("evaluation_page"), ModuleType("comparison_page")
    page.write_page = lambda path, *_: path.write_text("page")
    comparison.write_comparison = lambda path, comparison: path.write_text(comparison.text)
    monkeypatch.setitem(sys.modules, "video_zoo.engine.evaluation_page", page)
    monkeypatch.setitem(sys.modules, "video_zoo.engine.comparison_page", comparison)
    return comparison


def stored(ids: list[str], labels: list[int], predicted: list[int], folder: str = "eval", **facts) -> StoredEvaluation:
    """As it is read back."""
    made = make_evaluation(labels, predicted, names=NAMES, **facts)
    summary = Summary.of(made)
    return StoredEvaluation(
        folder=Path(folder), facts=made.facts, names=NAMES, scores=summary.scores, failures=[], ids=ids,
        classes_seen=summary.classes_seen, labels=made.labels, predicted=summary.predicted, ranks=summary.ranks,
        confidence=summary.confidence.astype(float),
    )  # fmt: skip


def test_a_comparison_goes_video_by_video():
    """The second one could not read b, and the first one not f; the list has c twice."""
    first = stored(["a", "b", "c", "c", "d", "e"], [0, 0, 1, 1, 2, 2], [0, 0, 1, 0, 1, 2])
    second = stored(["a", "c", "c", "d", "e", "f"], [0, 1, 1, 2, 2, 2], [1, 1, 1, 2, 2, 2])
    found = compare(first, second)
    assert (found.both, found.only_first, found.only_second, found.neither, found.videos) == (2, 1, 2, 0, 5)
    assert found.only_read_by_first == ["b"] and found.only_read_by_second == ["f"]
    assert (found.difference, found.low, found.high) == paired_difference(2, 1, 2, 0) and found.p == mcnemar(1, 2)
    assert [(*each[:4], each.won) for each in found.changes] == [
        ("a", 0, 0, 1, False), ("c", 1, 0, 1, True), ("d", 2, 1, 2, True)
    ]  # fmt: skip
    change = found.changes[1]
    assert (change.first_confidence, change.second_confidence) == (first.confidence[3], second.confidence[2])
    assert [(*each, each.won) for each in found.classes] == [(1, 2, 1, 2, 1), (2, 2, 1, 2, 1), (0, 1, 1, 0, -1)]
    assert found.differing_facts == []


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 3, st.booleans(), st.booleans()), min_size=1, max_size=9))
def test_a_comparison_equals_a_slow_reference(videos):
    """Each video: its label, what each takes it for, and whether each can read it."""
    read = [[i for i, video in enumerate(videos) if video[3 + side]] for side in (0, 1)]
    sides = [
        stored([f"v{i}" for i in own], [videos[i][0] for i in own], [videos[i][1 + side] for i in own]) if own else None
        for side, own in enumerate(read)
    ]
    both = [i for i in read[0] if i in read[1]]
    if not both:
        if all(sides):
            with pytest.raises(InputError, match="no video in common"):
                compare(*sides)
        return
    found = compare(*sides)
    label, first, second = ([videos[i][column] for i in both] for column in range(3))
    changed = [(f"v{i}", y, a, b, b == y) for i, y, a, b in zip(both, label, first, second) if (a == y) != (b == y)]
    assert [(*each[:4], each.won) for each in found.changes] == changed
    assert found.both == sum(a == b == y for y, a, b in zip(label, first, second))
    assert found.neither == sum(a != y != b for y, a, b in zip(label, first, second))
    classes = {each.index: each[1:] for each in found.classes}
    assert classes == {
        y: (
            label.count(y),
            sum(a == y == z for z, a in zip(label, first)),
            sum(b == y == z for z, b in zip(label, second)),
        )
        for y in label
    }
    assert [each.won for each in found.classes] == sorted((each.won for each in found.classes), reverse=True)
    assert found.only_read_by_first == [f"v{i}" for i in read[0] if i not in both]
    assert found.only_read_by_second == [f"v{i}" for i in read[1] if i not in both]


def test_videos_that_were_moved_are_the_same_videos():
    """Two have one name, and the second evaluation could not read one of them."""
    ids = ["val/x/1.mp4", "val/y/1.mp4", "val/y/2.mp4"]
    first = stored([f"/old/{video}" for video in ids], [0, 0, 1], [0, 1, 1])
    second = stored([f"/new/disk/{video}" for video in ids[1:]], [0, 1], [0, 1])
    second.failures.append(("/new/disk/val/x/1.mp4", "no video stream"))
    found = compare(first, second)
    assert [each.video for each in found.changes] == ["/old/val/y/1.mp4"] and found.both == 1
    assert found.only_read_by_first == ["/old/val/x/1.mp4"] and not found.only_read_by_second


def write(folder: Path, labels: list[int], predicted: list[int], **options) -> str:
    write_evaluation(folder, make_evaluation(labels, predicted, **options), lambda video: None)
    return str(folder)


def protocol(**changes) -> dict:
    return {**make_facts()["protocol"], **changes}


def test_the_command_prints_and_writes_what_changed(tmp_path, capsys):
    a = write(tmp_path / "a/eval", [0, 0, 1, 1, 2], [0, 1, 0, 1, 1], failures=1)
    b = write(tmp_path / "b/eval", [0, 0, 1, 1, 2], [0, 0, 1, 0, 2], protocol=protocol(name="uniform10", clips=10))
    run_compare(a, b, str(tmp_path / "out"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        f"first:  {a} (TSM, v15, TSM_k400, paddle): top-1 0.4000 on 5 of 6 videos (1 failed), 3 of 3 classes"
    )
    assert lines[2:4] == ["  protocol.name: v15 -> uniform10", "  protocol.clips: 1 -> 10"]
    assert lines[4].startswith("top-1 +0.4000 (95% interval -") and lines[4].endswith(
        ", McNemar's p = 0.62) on the 5 videos that both read: 3 won, 1 lost, 1 right in both, 0 in neither"
    )
    assert lines[5:9] == ["classes won: 2", "  +1 of 2  abseiling", "  +1 of 1  zumba", "classes lost: 0"]
    folder = tmp_path / "out" / "compare"
    assert lines[9] == f"each video and class: {folder}/compare.html and compare.json beside it"
    assert sorted(path.name for path in folder.iterdir()) == ["compare.html", "compare.json"]
    document = json.loads((folder / "compare.json").read_text())
    assert document["second"]["protocol"]["clips"] == 10 and document["first"]["headline"] in lines[0]
    assert document["videos"]["only_second_right"] == 3 and document["mcnemar_p"] == mcnemar(1, 3)
    assert set(document["changes"][0]) == {*Change._fields, "label_name", "first_name", "second_name"}
    assert [each["video"] for each in document["changes"]] == ["1.mp4", "2.mp4", "3.mp4", "4.mp4"]
    run_compare(a, a, str(tmp_path / "out"))  # takes the place of the first
    assert json.loads((folder / "compare.json").read_text())["changes"] == []


def test_what_was_only_read_once_is_said(tmp_path, capsys):
    a = stored(["a", "b"], [0, 1], [0, 1])
    text = compare(a, stored(["a"], [0], [0], paddle="2.6.2\x1b[2J")).text
    assert "videos that only the first could read, which do not count: 1" in text.splitlines()
    assert "paddle: 3.3.1 -> 2.6.2\\x1b[2J" in text


def test_evaluations_that_do_not_match_are_one_message_each(tmp_path, pages):
    a = write(tmp_path / "a", [0, 1], [0, 1])
    other_list = write(tmp_path / "l", [0, 1], [0, 1], list={"path": "train.list", "fingerprint": "c" * 8, "videos": 2})
    names = write(tmp_path / "n", [0, 1], [0, 1], names=["abseiling", "yoga", "judo"])
    fewer = write(tmp_path / "f", [0, 1], [0, 1], names=["abseiling", "yoga"])
    for b, message in (
        (other_list, "a is of the list val.list, and .*l of train.list, which is another one or has changed"),
        (names, "of different classes: class 2 is 'zumba' and 'judo'$"),
        (fewer, "of different classes: 3 and 2$"),
        (str(tmp_path), "has no eval.json"),
    ):
        with pytest.raises(InputError, match=message) as error:
            run_compare(a, b, str(tmp_path / "out"))
        assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()
    (tmp_path / "out" / "compare").mkdir(parents=True)
    (tmp_path / "out" / "compare" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="compare holds mine.txt"):
        run_compare(a, a, str(tmp_path / "out"))


def test_a_comparison_is_whole_or_not_there(tmp_path, pages):
    a = write(tmp_path / "a", [0, 1], [0, 1])

    def fail(*_: object) -> None:
        raise InputError("no room")

    pages.write_comparison = fail
    with pytest.raises(InputError, match="no room"):
        run_compare(a, a, str(tmp_path / "out"))
    assert not list((tmp_path / "out").iterdir())


def split(number: int) -> dict:
    return {"path": f"split{number}.list", "fingerprint": str(number) * 16, "videos": 4}


def test_the_mean_over_splits(tmp_path, capsys):
    rights = ([0, 1, 2, 0], [0, 1, 1, 0], [0, 1, 1, 1])
    folders = [
        write(tmp_path / f"split{i}" / "eval", [0, 1, 2, 0], right, list=split(i), weights={"name": f"w{i}"})
        for i, right in enumerate(rights)
    ]
    run_mean(folders)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == (f"{folders[1]} (TSM, v15, w1, paddle): top-1 0.7500 on 4 of 4 videos, 3 of 3 classes")
    assert lines[3] == ("mean of 3: top-1 0.7500 (standard deviation 0.2500), top-5 1.0000 (standard deviation 0.0000)")
    mean = mean_over([read_evaluation(folder) for folder in folders[:2]])
    assert mean["top1"] == pytest.approx((np.mean([1, 0.75]), np.std([1, 0.75], ddof=1)))


def test_what_has_no_mean_is_one_message_each(tmp_path):
    def one(number: int, **changes) -> StoredEvaluation:
        return stored(["a", "b"], [0, 1], [0, 1], f"s{number}", **{"list": split(number), **changes})

    with pytest.raises(InputError, match="needs two evaluations or more"):
        mean_over([one(1)])
    with pytest.raises(InputError, match="^s1 and s3 are of the same list"):
        mean_over([one(1), one(2), one(3, list=split(1))])
    with pytest.raises(InputError, match=r"^s1 and s2 differ in protocol.crops, center1 and three"):
        mean_over([one(1), one(2, protocol=protocol(crops="three"))])
    with pytest.raises(InputError, match="^s1 and s2 differ in model, TSM and TSN"):
        mean_over([one(1), one(2, model="TSN")])


def test_no_paddle_is_started():
    code = "import sys; import video_zoo.engine.comparison; sys.exit('paddle' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
