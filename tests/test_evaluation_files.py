"""The numbers and files of an evaluation: whole or not there, read back, and refused if damaged."""

from __future__ import annotations

import csv
import json
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from evaluations import make_evaluation, make_facts
from hypothesis import given
from hypothesis import strategies as st
from media import plant
from visualdl import LogReader

from video_zoo.engine.evaluation import Evaluation
from video_zoo.engine.evaluation_curves import curves_to_board, draw_confusion
from video_zoo.engine.evaluation_files import Summary, check_place, headline_of, write_evaluation
from video_zoo.engine.stored_evaluation import read_evaluation
from video_zoo.utils.errors import InputError

FILES = ["confusion.csv", "eval.json", "per_class.csv", "predictions.csv", "report.html"]


@pytest.fixture
def page(monkeypatch):
    """A page that is quickly written; its `write_page` may be replaced."""
    module = ModuleType("evaluation_page")
    module.write_page = lambda path, evaluation, summary, clip_of: path.write_text(summary.headline)
    monkeypatch.setitem(sys.modules, "video_zoo.engine.evaluation_page", module)
    return module


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(folder: Path, evaluation: Evaluation) -> Summary:
    return write_evaluation(folder, evaluation, lambda video: None)


@given(st.integers(1, 7).flatmap(lambda c: st.tuples(st.just(c), st.lists(st.integers(0, c - 1), min_size=1))))
def test_a_summary_equals_a_slow_reference(case):
    """Also with fewer than five classes, with one, and with classes that have no videos."""
    classes, labels = case
    evaluation = make_evaluation(labels, [0] * len(labels), names=[f"c{i}" for i in range(classes)], failures=2)
    evaluation.logits["natural"][:] = np.round(evaluation.logits["natural"])  # ties
    summary = Summary.of(evaluation)
    losses, ranks, per_class = [], [], {}
    for label, logits in zip(labels, evaluation.logits["natural"].tolist()):
        exps = [math.exp(each) for each in logits]
        losses.append(-math.log(exps[label] / sum(exps)))
        order = sorted(range(classes), key=lambda c: (-logits[c], c))
        ranks.append(order.index(label) + 1)
        per_class.setdefault(label, []).append(order[0] == label)
        at = len(ranks) - 1
        assert summary.predicted[at] == order[0]
        assert summary.probabilities[at] == pytest.approx([each / sum(exps) for each in exps], rel=1e-5)
        assert summary.confidence[at] == summary.probabilities[at].max()
    scores, count = summary.scores["natural"], len(labels)
    assert summary.ranks.tolist() == ranks
    assert scores["top1"].value == ranks.count(1) / count
    assert scores["top5"].value == sum(rank <= 5 for rank in ranks) / count
    assert scores["loss"].value == pytest.approx(sum(losses) / count)
    shares = [sum(own) / len(own) for own in per_class.values()]
    assert scores["mean_class_accuracy"].value == pytest.approx(sum(shares) / len(shares))
    assert all(score.low <= score.value <= score.high for name, score in scores.items() if name != "loss")
    assert (summary.num_videos, summary.classes_seen) == (count + 2, len(per_class))


def test_many_videos_are_measured_in_blocks_and_give_the_same(monkeypatch):
    evaluation = make_evaluation([0, 1, 2] * 4, [0, 1, 1] * 4)
    whole = Summary.of(evaluation)
    monkeypatch.setattr("video_zoo.engine.evaluation_files._BLOCK", 5)
    parts = Summary.of(evaluation)
    assert np.array_equal(parts.probabilities, whole.probabilities) and parts.scores == whole.scores


def test_a_headline_says_what_was_measured():
    expected = "top-1 0.7012 on 19,404 of 19,881 videos (477 failed), 400 of 400 classes"
    assert headline_of(0.70117, 19404, 19881, 400, 400) == expected
    assert headline_of(1, 3, 3, 2, 4) == "top-1 1.0000 on 3 of 3 videos, 2 of 4 classes"


def test_all_files_of_an_evaluation(tmp_path, page):
    names = ["abseiling", '=HYPERLINK("x")', "zumba", "no videos"]
    evaluation = make_evaluation([0, 0, 1, 2, 2], [0, 2, 1, 2, 0], names=names, failures=1, orders=("reverse",))
    summary = write(tmp_path / "eval", evaluation)
    assert sorted(path.name for path in (tmp_path / "eval").iterdir()) == FILES
    document = json.loads((tmp_path / "eval/eval.json").read_text())
    assert {**document, **make_facts()} == document
    assert document["headline"] == "top-1 0.6000 on 5 of 6 videos (1 failed), 3 of 4 classes"
    failed = [{"video": "broken0.mp4", "reason": "no video stream"}]
    assert document["videos"] == {"listed": 6, "read": 5, "failed": failed}
    assert document["classes"] == {"seen": 3, "names": names}
    assert set(document["scores"]) == {"natural", "reverse"}
    assert document["scores"]["natural"]["top1"]["value"] == 0.6
    assert len(document["bins"]) == 15 and None in [each["accuracy"] for each in document["bins"]]  # no NaN

    predictions = rows(tmp_path / "eval/predictions.csv")
    columns = "video,label,label_name,predicted,predicted_name,probability,rank,label_probability"
    assert list(predictions[0]) == [*columns.split(","), "predicted_reverse", "probability_reverse", "rank_reverse"]
    assert [row["video"] for row in predictions] == evaluation.ids
    assert [int(row["predicted"]) for row in predictions] == [0, 2, 1, 2, 0]
    assert predictions[2]["label_name"] == "'" + names[1]
    assert [int(row["rank_reverse"]) for row in predictions] == summary.outcomes["reverse"].ranks.tolist()
    for row, probabilities in zip(predictions, summary.probabilities):
        assert float(row["label_probability"]) == pytest.approx(probabilities[int(row["label"])], rel=1e-5)

    classes = rows(tmp_path / "eval/per_class.csv")
    assert [(row["videos"], row["right"], row["accuracy"]) for row in classes] == [
        ("2", "1", "0.5"), ("1", "1", "1"), ("2", "1", "0.5"), ("0", "0", "")
    ]  # fmt: skip
    assert [row["taken_for_name"] for row in classes] == ["zumba", "", "abseiling", ""]
    confusion = rows(tmp_path / "eval/confusion.csv")
    assert [(row["label"], row["predicted"], row["count"]) for row in confusion] == [
        ("0", "0", "1"), ("0", "2", "1"), ("1", "1", "1"), ("2", "0", "1"), ("2", "2", "1")
    ]  # fmt: skip


def test_what_is_not_finite_is_null_and_comes_back(tmp_path, page):
    """A mean of probabilities may be 0, and its logit then is none."""
    evaluation = make_evaluation([0, 1], [0, 0], config={"TRAIN": {"limit": math.inf}})
    evaluation.logits["natural"][1] = [0, -math.inf, -math.inf]
    write(tmp_path / "eval", evaluation)
    document = json.loads((tmp_path / "eval/eval.json").read_text(), parse_constant=pytest.fail)
    assert document["scores"]["natural"]["loss"] == {"value": None, "low": None, "high": None}
    assert document["config"] == {"TRAIN": {"limit": None}}
    assert math.isnan(read_evaluation(tmp_path / "eval").scores["natural"]["loss"].value)


def test_an_evaluation_is_read_back(tmp_path, page):
    ids = ["-abc.mp4", "it's 100%;=1.mp4", "bad\udcff.mp4", 'a "b",c.mp4']
    made = make_evaluation([0, 1, 2, 2], [0, 1, 1, 2], failures=2)
    made.ids[:] = ids
    summary = write(tmp_path / "eval", made)
    stored = read_evaluation(str(tmp_path / "eval"))
    assert stored.ids == ["-abc.mp4", "it's 100%;'=1.mp4", "bad\\udcff.mp4", 'a "b",c.mp4']
    assert stored.labels.tolist() == [0, 1, 2, 2] and stored.predicted.tolist() == [0, 1, 1, 2]
    assert stored.ranks.tolist() == summary.ranks.tolist()
    assert stored.confidence == pytest.approx(summary.confidence, rel=1e-5)
    assert stored.scores == summary.scores and stored.names == made.names
    assert stored.failures == made.failures and stored.facts["protocol"]["name"] == "v15"
    assert stored.headline == summary.headline == "top-1 0.7500 on 4 of 6 videos (2 failed), 3 of 3 classes"


@pytest.mark.parametrize("error", [InputError("no room"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_earlier_evaluation_stays_until_the_new_one_is_complete(tmp_path, page, error):
    write(tmp_path / "eval", make_evaluation([0, 1], [0, 1]))
    before = (tmp_path / "eval/eval.json").read_bytes()

    def fail(*_: object) -> None:
        raise error

    good, page.write_page = page.write_page, fail
    with pytest.raises(InputError if isinstance(error, OSError) else type(error)):
        write(tmp_path / "eval", make_evaluation([0, 1], [1, 1]))
    assert (tmp_path / "eval/eval.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["eval"]
    page.write_page = good
    write(tmp_path / "eval", make_evaluation([0, 1], [1, 1]))
    assert "top-1 0.5000 on 2 of 2" in (tmp_path / "eval/eval.json").read_text()


def test_other_things_in_the_folders_place_are_not_replaced(tmp_path, page):
    evaluation, place = make_evaluation([0], [0]), tmp_path / "eval"
    place.mkdir()
    (place / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"eval holds notes.txt, .* --save_dir$"):
        write(place, evaluation)
    assert (place / "notes.txt").read_text() == "mine"
    other = tmp_path / "elsewhere"
    other.mkdir()
    plant("link", tmp_path / "linked", other)
    with pytest.raises(InputError, match="it is a link"):
        check_place(tmp_path / "linked")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: Not a directory"):
        check_place(tmp_path / "file")
    check_place(tmp_path / "new" / "eval")
    (place / "notes.txt").unlink()
    write(place, evaluation)  # empty


def test_logits_that_give_no_numbers_are_refused(tmp_path, page):
    evaluation = make_evaluation([0, 1], [0, 1])
    evaluation.logits["natural"][1, 2] = math.nan
    with pytest.raises(InputError, match="logits of 1.mp4 are not finite"):
        write(tmp_path / "eval", evaluation)
    with pytest.raises(InputError, match="none of the 3 videos of the list could be read"):
        write(tmp_path / "eval", make_evaluation([], [], failures=3))
    assert not list(tmp_path.iterdir())


def damage(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    "name, old, new, message",
    [
        ("eval.json", '"format": 1', '"format": 2', "has format 2, and this version reads 1: run this"),
        ("eval.json", '"format"', '"form"', "does not say format; run test.py again"),
        ("eval.json", '"fingerprint": "b', '"finger": "b', "is damaged: list is"),
        ("eval.json", '"value"', '"worth"', "is damaged: scores is"),
        ("eval.json", '"listed": 3', '"listed": 4', "has 3 videos, and eval.json says otherwise"),
        ("eval.json", '"value": 0.6666', '"value": 0.7777', "another top-1 accuracy"),
        ("eval.json", '"zumba"', "7", "is damaged: classes is"),
        ("eval.json", "{", "{" * 40, "is damaged"),
        ("predictions.csv", "rank,", "rang,", "first line of predictions.csv does not name video, label"),
        ("predictions.csv", "1.mp4,1", "1.mp4,3", "line 3 of predictions.csv is no prediction"),
        ("predictions.csv", "1.mp4,1", "1.mp4,x", "line 3 of predictions.csv is no prediction"),
        ("predictions.csv", "1.mp4,1", "1.mp4", "line 3 of predictions.csv is no prediction"),
        ("predictions.csv", "2.mp4", "\n2.mp4", "line 4 of predictions.csv is no prediction"),
        ("predictions.csv", "1.mp4", "x" * 200_000, "is damaged: field larger than"),
    ],
)  # fmt: skip
def test_damage_is_one_message(tmp_path, page, name, old, new, message):
    write(tmp_path / "eval", make_evaluation([0, 1, 2], [0, 1, 1]))
    damage(tmp_path / "eval", name, old, new)
    with pytest.raises(InputError, match=message) as error:
        read_evaluation(tmp_path / "eval")
    assert str(tmp_path / "eval") in str(error.value) and "\n" not in str(error.value)


def test_a_folder_that_is_none_is_one_message(tmp_path, page):
    with pytest.raises(InputError, match="has no eval.json: name the folder SAVE_DIR/eval"):
        read_evaluation(tmp_path / "missing")
    write(tmp_path / "eval", make_evaluation([0], [0]))
    (tmp_path / "eval/predictions.csv").unlink()
    with pytest.raises(InputError, match="predictions.csv: No such file"):
        read_evaluation(tmp_path / "eval")


def test_visualdl_shows_confusion_and_curves(tmp_path):
    names = ["up", "100%/down", "left", "never"]
    labels, predicted = [0, 0, 1, 2, 2, 2], [0, 2, 1, 2, 0, 2]
    for _ in range(2):  # the second run takes the place of the first
        summary = Summary.of(make_evaluation(labels, predicted, names=names))
        curves_to_board(tmp_path, summary, names)
    (file,) = (tmp_path / "visualdl" / "eval").iterdir()
    reader = LogReader(file_path=str(file))
    (picture,) = reader.get_data("image", "confusion_matrix")
    assert picture.image.encoded_image_string.startswith(b"\x89PNG")
    curves = ["all classes", "0 up", "2 left", "1 100 percent/down"]
    for kind in ("pr", "roc"):
        assert reader.get_tags()[f"{kind}_curve"] == [f"{kind}/{curve}" for curve in curves]
    decisions = [
        (probability, label == index)
        for label, row in zip(labels, summary.probabilities.tolist())
        for index, probability in enumerate(row)
    ]
    (pr,), (roc,) = (reader.get_data(f"{kind}_curve", f"{kind}/all classes") for kind in ("pr", "roc"))
    for step in range(127):
        kept = [right for probability, right in decisions if int(np.float32(probability) * np.float32(126)) >= step]
        assert pr.pr_curve.TP[step] == sum(kept) and pr.pr_curve.FP[step] == len(kept) - sum(kept)
        assert pr.pr_curve.recall[step] == roc.roc_curve.tpr[step] == pytest.approx(sum(kept) / 6)
        assert roc.roc_curve.fpr[step] == pytest.approx((len(kept) - sum(kept)) / 18)
        assert pr.pr_curve.precision[step] == pytest.approx(sum(kept) / max(len(kept), 1))
    assert (pr.pr_curve.TN[0], pr.pr_curve.FN[0], pr.pr_curve.TN[126] + pr.pr_curve.FP[126]) == (0, 0, 18)


def test_curves_of_many_classes_are_those_of_the_least_accurate(tmp_path):
    names = [f"class {i}" for i in range(30)]
    labels = list(range(30))
    predicted = [0 if label % 2 else label for label in labels]
    curves_to_board(tmp_path, Summary.of(make_evaluation(labels, predicted, names=names)), names)
    (file,) = (tmp_path / "visualdl" / "eval").iterdir()
    tags = LogReader(file_path=str(file)).get_tags()["pr_curve"]
    assert set(tags) == {"pr/all classes", *(f"pr/{i} class {i}" for i in range(1, 20, 2))}


def test_curves_follow_no_link(tmp_path):
    summary, other = Summary.of(make_evaluation([0], [0])), tmp_path / "other"
    (tmp_path / "board" / "visualdl").mkdir(parents=True)
    other.mkdir()
    for place, below in ((tmp_path / "visualdl", tmp_path), (tmp_path / "board/visualdl/eval", tmp_path / "board")):
        place.symlink_to(other)
        with pytest.raises(InputError, match="it is a link"):
            curves_to_board(below, summary, ["a", "b", "c"])
    assert not list(other.iterdir())


def test_curves_are_whole_or_not_there(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("visualdl.writer.record_writer.RecordWriter.write", fail)
    with pytest.raises(InputError, match="visualdl/eval: No space left on device"):
        curves_to_board(tmp_path, Summary.of(make_evaluation([0], [0])), ["a", "b", "c"])
    assert not list((tmp_path / "visualdl").iterdir())


@pytest.mark.parametrize("classes, side", [(1, 800), (3, 798), (400, 800), (900, 800)])
def test_a_confusion_matrix_is_drawn_by_roots_of_shares(classes, side):
    confusion = np.zeros((classes, classes), np.int64)
    confusion[0, 0], confusion[0, -1] = 2, 6
    picture = draw_confusion(confusion)
    assert picture.shape == (side, side, 3) and picture.dtype == np.uint8
    if classes == 3:
        assert picture[0, 265].tolist() == [132, 152, 181]  # half of the way from white to (8, 48, 107)
        assert picture[265, 797].tolist() == [41, 76, 127] and picture[266, 797].tolist() == [255, 255, 255]
