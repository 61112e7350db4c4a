"""Rows of an evaluation on the disk: what a killed pass has left is whole, and a pass goes on from there."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from video_zoo.datareader.batches import Batch, Failure
from video_zoo.datareader.video_list import Video
from video_zoo.engine.evaluation_rows import EvaluationRows
from video_zoo.utils.errors import InputError

ORDERS, CLASSES, SETTINGS = ["natural", "reverse"], 3, {"weights": {"sha256": "ab"}, "list": ["x", 1]}
BAD = {2, 3, 6}  # places of videos that cannot be read; the second batch of one process is empty


def make_reader(count: int = 7, batch_size: int = 2):
    videos = [Video(f"a/{place}\udcff.mp4", place % CLASSES, 10 + place) for place in range(count)]
    return SimpleNamespace(videos=videos, batch_size=batch_size, batches=-(-count // batch_size), failures=[])


def logits_of(place: int) -> dict[str, np.ndarray]:
    natural = np.array([[place, place / 3, -place]], np.float32)
    return {"natural": natural, "reverse": -natural}


def run_pass(folder, *, resume=False, until=99, rank=0, ranks=1, first=None, settings=SETTINGS) -> int:
    """Evaluates as test.py does; ends before batch `until` as if it were killed. Returns the batch it began with."""
    reader = make_reader()
    with EvaluationRows(folder, reader, rank, ORDERS, CLASSES, settings) as rows:
        begun = first if first is not None else rows.done() if resume else 0
        rows.begin(begun)
        for number in range(begun, reader.batches):
            if number == until:
                return begun
            places = range(number * 2, min(number * 2 + 2, len(reader.videos)))
            mine = [place for place in places if place % ranks == rank]
            reader.failures += [Failure(reader.videos[place], f"no {place}") for place in mine if place in BAD]
            read = [place for place in mine if place not in BAD]
            if read:
                videos = [reader.videos[place] for place in read]
                labels, ids = np.array([video.label for video in videos]), [video.path for video in videos]
                logits = {order: np.concatenate([logits_of(place)[order] for place in read]) for order in ORDERS}
                rows.add(Batch(np.empty(0), labels, ids, 2, number=number), logits)
        rows.end()
    return begun


def read(folder, ranks: int = 1):
    reader = make_reader()
    with EvaluationRows(folder, reader, 0, ORDERS, CLASSES, SETTINGS) as rows:
        return rows.evaluation(ranks, ["x", "y", "z"], {}), reader


def assert_complete(folder, ranks: int = 1) -> None:
    found, reader = read(folder, ranks)
    places = [place for place in range(7) if place not in BAD]
    assert found.ids == [reader.videos[place].path for place in places]
    assert found.labels.tolist() == [place % CLASSES for place in places] and found.labels.dtype == np.int64
    for order in ORDERS:
        assert np.array_equal(found.logits[order], np.concatenate([logits_of(place)[order] for place in places]))
        assert found.logits[order].dtype == np.float32
    assert found.failures == [(reader.videos[place].path, f"no {place}") for place in sorted(BAD)]
    assert [failure.video.line for failure in reader.failures] == [10 + place for place in sorted(BAD)]


@pytest.mark.parametrize("until", range(5))
def test_a_pass_that_goes_on_has_the_rows_of_one_in_one_piece(tmp_path, until):
    run_pass(tmp_path / "p", until=until)
    run_pass(tmp_path / "p", resume=True)
    assert_complete(tmp_path / "p")


def test_what_is_done_is_not_done_again(tmp_path):
    run_pass(tmp_path / "p", until=3)
    assert run_pass(tmp_path / "p", resume=True) == 3
    assert run_pass(tmp_path / "p", resume=True) == 4  # all of it
    assert run_pass(tmp_path / "p") == 0
    assert_complete(tmp_path / "p")


def test_a_line_that_was_cut_off_is_not_there(tmp_path):
    run_pass(tmp_path / "p", until=1)
    path = tmp_path / "p/0.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert run_pass(tmp_path / "p", resume=True) == 0
    assert_complete(tmp_path / "p")


@pytest.mark.parametrize("stops", [(0, 0), (1, 3), (3, 1), (4, 4), (99, 2)])
def test_the_ranks_go_on_from_the_same_batch(tmp_path, stops):
    """Each may have been killed somewhere else."""
    for rank in range(2):
        run_pass(tmp_path / "p", until=stops[rank], rank=rank, ranks=2)
    reader, done = make_reader(), []
    for rank in range(2):
        with EvaluationRows(tmp_path / "p", reader, rank, ORDERS, CLASSES, SETTINGS) as rows:
            done.append(rows.done())
    for rank in range(2):
        run_pass(tmp_path / "p", rank=rank, ranks=2, first=min(done))
    assert_complete(tmp_path / "p", ranks=2)


def test_rows_of_other_settings_are_refused(tmp_path):
    run_pass(tmp_path / "p", until=2)
    before = (tmp_path / "p/0.jsonl").read_bytes()
    with pytest.raises(InputError, match=r"other settings: weights.sha256: ab -> cd. Give the old ones, or leave out"):
        run_pass(tmp_path / "p", resume=True, settings={**SETTINGS, "weights": {"sha256": "cd"}})
    assert (tmp_path / "p/0.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"labels": [0', b'"labels": [3'),
        (b'"labels": [0', b'"labels": [0, 0'),
        (b'"reverse"', b'"shuffle"'),
        (b'"ids": [', b'"ids": [1, '),
        (b'"failed": []', b'"failed": [[1, "no such line"]]'),
        (b'"natural": "', b'"natural": "AAAA'),
        (b'{"batch": 0', b'{"batch": -1'),
    ],
)
def test_damaged_rows_are_refused(tmp_path, old, new):
    run_pass(tmp_path / "p", until=1)
    path = tmp_path / "p/0.jsonl"
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    with pytest.raises(InputError, match=r"0\.jsonl:2: damaged, it is no row of an evaluation; leave out --resume"):
        run_pass(tmp_path / "p", resume=True)


def test_rows_that_are_missing_are_noticed(tmp_path):
    run_pass(tmp_path / "p", until=2)
    with pytest.raises(InputError, match="has rows of 2 of 7 videos"):
        read(tmp_path / "p")


def test_two_processes_do_not_write_one_file(tmp_path):
    rows = EvaluationRows(tmp_path / "p", make_reader(), 0, ORDERS, CLASSES, SETTINGS)
    with rows, pytest.raises(InputError, match="is being written by another process; choose another --save_dir"):
        run_pass(tmp_path / "p")


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "p").symlink_to("other")
    with pytest.raises(InputError, match="it is a link"):
        run_pass(tmp_path / "p")


def test_the_files_go_when_the_results_are_elsewhere(tmp_path):
    run_pass(tmp_path / "p")
    with EvaluationRows(tmp_path / "p", make_reader(), 0, ORDERS, CLASSES, SETTINGS) as rows:
        rows.remove(1)
    assert not (tmp_path / "p").exists()
