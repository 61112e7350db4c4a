"""The review of predictions: what the routes give and refuse, what is on the disk after each decision, the numbers."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("starlette", reason="Starlette is not installed (requirements/demo.txt)")

from evaluations import make_evaluation
from media import levels, make_config, make_video
from starlette.testclient import TestClient

from video_zoo.datareader.decode import VideoError
from video_zoo.datareader.video_list import read_mode_list
from video_zoo.dataset.cut_events import read_events
from video_zoo.engine.evaluation_files import write_evaluation
from video_zoo.metrics.statistics import wilson_interval
from video_zoo.server import reading
from video_zoo.server.app import open_app
from video_zoo.server.review import Review, open_review
from video_zoo.server.review_decisions import UNUSABLE, Decisions
from video_zoo.server.review_results import Item
from video_zoo.server.review_summary import Scores, random_ranks
from video_zoo.utils.errors import InputError

NAMES = ["golf", "<b>bold</b>", "=1+1", "running on treadmill"]


def make_results(folder: Path, videos: dict[str, list[float]], spans: list[tuple] = (), names=NAMES) -> Path:
    """A result file: video -> the probabilities of all classes; with spans, each video has all of these windows."""
    path = folder / "TSM_infer_result.jsonl"
    with path.open("w") as file:
        for video, shares in videos.items():
            top = sorted(range(len(shares)), key=lambda index: -shares[index])
            top = [{"class": n, "name": names[n], "probability": shares[n]} for n in top]
            for span in spans or [None]:
                window = {"start_s": span[0], "end_s": span[1]} if span else {}
                file.write(json.dumps({"video": video, **window, "top": top}) + "\n")
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> bytes:
    """A video of 50 frames of one grey level each, 2 s."""
    return make_video(tmp_path_factory.mktemp("clip") / "a.mp4", levels(50, 32, 32, first=100)).read_bytes()


@pytest.fixture
def folder(tmp_path, clip) -> Path:
    """Results of three videos and one that is missing, in the folder `videos`."""
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("with spaces 3.mp4", "\u6253\u9ad8\u5c14\u592b.mp4", "a.mp4"):
        (videos / name).write_bytes(clip)
    names = ["with spaces 3.mp4", "\u6253\u9ad8\u5c14\u592b.mp4", "a.mp4", "missing.mp4"]
    shares = [[0.4, 0.3, 0.2, 0.1], [0.05, 0.9, 0.03, 0.02], [0.1, 0.1, 0.5, 0.3], [0.7, 0.1, 0.1, 0.1]]
    make_results(tmp_path, {str(videos / name): row for name, row in zip(names, shares)})
    return tmp_path


_opened = contextlib.ExitStack()


@pytest.fixture(autouse=True)
def closed_at_the_end() -> Iterator[None]:
    with _opened:
        yield


def client_of(folder: Path, **how: Any) -> TestClient:
    review = _opened.enter_context(open_review(folder, **how))
    return TestClient(_opened.enter_context(open_app(None, review=review, hosts=["testserver"])))


def decide(client: TestClient, item: int, new: Any, old: Any = None, **changes: Any) -> Any:
    token = client.get("/review/data").json()["token"]
    return client.post(
        "/review/decisions", json={"token": token, "item": item, "old": old, "new": new, "since": 0, **changes}
    )


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


# --- what is shown


def test_data_are_columns_of_all_predictions(folder):
    data = client_of(folder).get("/review/data").json()
    assert [Path(video).name for video in data["videos"]][::3] == ["with spaces 3.mp4", "missing.mp4"]
    assert data["names"] == {str(index): name for index, name in enumerate(NAMES)} and data["complete"]
    assert data["choices"][0] == [[0, 0.4], [1, 0.3], [2, 0.2], [3, 0.1]]
    assert data["problems"][:3] == ["", "", ""] and "missing" in data["problems"][3]
    assert sorted(data["ranks"]) == [0, 1, 2, 3] and data["scores"]["items"] == 4


def test_what_a_list_has_twice_is_reviewed_once(folder):
    path = folder / "TSM_infer_result.jsonl"
    path.write_text(path.read_text() * 2)
    assert len(client_of(folder).get("/review/data").json()["videos"]) == 4


def test_classes_are_those_of_the_results_or_those_given(tmp_path, clip):
    (tmp_path / "a.mp4").write_bytes(clip)
    top = [{"class": n, "name": str(n), "probability": 0.3} for n in (5, 2)]
    (tmp_path / "TSM_infer_result.jsonl").write_text(json.dumps({"video": "a.mp4", "top": top}) + "\n")
    data = client_of(tmp_path).get("/review/data").json()
    assert data["names"] == {"5": "5", "2": "2"} and not data["complete"]
    assert data["problems"] == [""]  # the video lies beside the results
    given = client_of(tmp_path, names=list("012345")).get("/review/data").json()
    assert given["complete"] and given["names"]["4"] == "4"
    for others in ("01234", "01x345"):
        assert client_of(tmp_path, names=list(others)).get("/review/data").json()["names"] == data["names"]


def test_kinetics_names_are_known(tmp_path, clip):
    (tmp_path / "a.mp4").write_bytes(clip)
    make_results(tmp_path, {"a.mp4": [0.9, 0.1]}, names=["abseiling", "air drumming"])
    row = json.loads((tmp_path / "TSM_infer_result.jsonl").read_text())
    other = {"video": "b.mp4", "top": row["top"][:1]}
    (tmp_path / "TSM_infer_result.jsonl").write_text(f"{json.dumps(row)}\n{json.dumps(other)}\n")
    data = client_of(tmp_path).get("/review/data").json()
    assert data["names"]["399"] == "zumba" and data["complete"]


# --- videos


def video(client: TestClient, item: int, what: str = "video", **headers: str) -> Any:
    token = client.get("/review/data").json()["token"]
    return client.get(f"/review/{what}/{item}?token={token}", headers=headers)


def test_parts_of_a_video_are_given(folder, clip):
    client = client_of(folder)
    assert video(client, 0).content == clip
    part = video(client, 0, Range="bytes=10-19")
    assert part.status_code == 206 and part.content == clip[10:20] and part.headers["content-type"] == "video/mp4"
    assert video(client, 3).status_code == 404 and video(client, 4).status_code == 404


def test_only_videos_of_the_results_are_given(folder, tmp_path, clip):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    (tmp_path / "link.mp4").symlink_to(secret)
    (tmp_path / "later.mp4").write_bytes(clip)
    make_results(folder, {str(tmp_path / name): [0.9, 0.1] for name in ("secret.txt", "link.mp4", "later.mp4")})
    client = client_of(folder)
    assert [video(client, item).status_code for item in range(3)] == [404, 404, 200]
    (tmp_path / "other.mp4").write_bytes(b"other")
    (tmp_path / "later.mp4").unlink()
    (tmp_path / "later.mp4").symlink_to(tmp_path / "other.mp4")
    assert video(client, 2).status_code == 404
    assert client.get("/review/video/..%2Fsecret.txt").status_code == 404


def frame_levels(client: TestClient, item: int) -> np.ndarray:
    """The middles of the eight frames of a picture."""
    found = video(client, item, "frames")
    assert found.headers["content-type"] == "image/jpeg"
    image = cv2.imdecode(np.frombuffer(found.content, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image.shape == (360, 4 * 180 + 3 * 2)
    return image[90::180, 90::182].astype(int).ravel()


def test_frames_of_a_video_and_of_its_window(folder, clip):
    expected = np.array([103, 109, 115, 121, 128, 134, 140, 146])
    assert np.abs(frame_levels(client_of(folder), 0) - expected).max() <= 2
    make_results(folder, {str(folder / "videos/a.mp4"): [0.9, 0.1]}, [(0.0, 1.0), (1.0, 2.0), (1.0, 1.04)])
    client = client_of(folder)
    assert frame_levels(client, 1).min() >= 123 and np.all(np.diff(frame_levels(client, 1)) > 0)
    assert np.abs(frame_levels(client, 2) - 125).max() <= 2


def test_videos_are_decoded_in_a_process_of_their_own(folder, monkeypatch):
    monkeypatch.setattr(reading, "decode_video", None)
    assert frame_levels(client_of(folder), 0)[0] > 100


def test_frames_that_would_fill_the_memory_are_not_decoded(folder, monkeypatch):
    monkeypatch.setattr(reading, "MOST_PIXELS", 1000)
    with pytest.raises(VideoError, match="its frames are 32 x 32 px, which is too large"):
        reading._draw_strip(folder / "videos/a.mp4", None)


def test_what_is_no_video_is_said(folder):
    (folder / "videos/a.mp4").write_bytes(b"no video")
    found = video(client_of(folder), 2, "frames")
    assert found.status_code == 415 and "it is no video" in found.json()["error"]


# --- decisions


def test_the_list_is_what_training_reads(folder):
    client = client_of(folder)
    assert decide(client, 0, 3).status_code == 200
    assert decide(client, 1, 1).status_code == 200
    assert decide(client, 2, UNUSABLE).status_code == 200
    settings = make_config("train", str(folder / "reviewed.list"))
    found = read_mode_list(settings, "train")
    assert [(Path(each.path), each.label) for each in found] == [
        (folder / "videos/with spaces 3.mp4", 3),
        (folder / "videos/\u6253\u9ad8\u5c14\u592b.mp4", 1),
    ]
    row = json.loads(lines(folder / "reviewed.jsonl")[0])
    assert (row["predicted"], row["old"], row["new"], row["name"]) == (0, None, 3, NAMES[3])


def test_a_decision_is_changed_and_undone(folder):
    client = client_of(folder)
    decide(client, 0, 3)
    assert decide(client, 0, 2, old=3).json()["changes"] == [[0, 2]]
    assert lines(folder / "reviewed.list") == [f"{folder}/videos/with spaces 3.mp4 2"]
    answer = decide(client, 0, None, old=2).json()
    assert answer["changes"] == [[0, None]] and answer["scores"]["done"] == 0
    assert not (folder / "reviewed.list").exists() and len(lines(folder / "reviewed.jsonl")) == 3


def test_decisions_are_there_after_a_restart_and_a_kill(folder):
    decide(client_of(folder), 0, 3)
    with (folder / "reviewed.jsonl").open("a") as file:
        file.write('{"time": "2026-11-26T08:00:00+00:00", "video": "a')  # a process was killed here
    (folder / "reviewed.list").unlink()  # before it was written
    client = client_of(folder)
    assert client.get("/review/data").json()["changes"] == [[0, 3]] and len(lines(folder / "reviewed.list")) == 1
    assert decide(client, 1, 1).status_code == 200
    assert client_of(folder).get("/review/data").json()["changes"] == [[0, 3], [1, 1]]


def test_of_two_who_decide_the_second_is_told(folder):
    first, second = client_of(folder), client_of(folder)
    decide(first, 0, 3)
    refused = decide(second, 0, 1)
    assert refused.status_code == 409 and "Somebody else" in refused.json()["error"]
    assert refused.json()["changes"] == [[0, 3]]
    assert decide(second, 0, 1, old=3).status_code == 200
    token = first.get("/review/data").json()["token"]
    assert first.get(f"/review/changes?token={token}&since={'9' * 5000}").json()["all"]
    answer = first.get(f"/review/changes?token={token}&since=1").json()
    assert answer["changes"] == [[0, 1]] and answer["version"] == 2 and not answer["all"]


def test_many_at_once_lose_nothing(tmp_path, clip):
    (tmp_path / "videos").mkdir()
    names = [f"{tmp_path}/videos/{n}.mp4" for n in range(24)]
    for name in names:
        Path(name).write_bytes(clip)
    make_results(tmp_path, {name: [0.6, 0.4] for name in names})
    reviews = [Review(tmp_path) for _ in range(3)]
    token = reviews[0].data()["token"]

    def work(own: int) -> None:
        for item in range(own, 24, 4):
            reviews[own % 3].decide(token, item, None, item % 2, 0)

    threads = [threading.Thread(target=work, args=(own,)) for own in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(lines(tmp_path / "reviewed.list")) == sorted(f"{name} {n % 2}" for n, name in enumerate(names))
    assert len(lines(tmp_path / "reviewed.jsonl")) == 24
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_one_process_waits_for_another(folder, monkeypatch):
    first, second = Review(folder), Review(folder)
    token, append = first.data()["token"], Decisions._append
    other = threading.Thread(target=second.decide, args=(token, 1, None, 1, 0))

    def append_slowly(self: Decisions, *decision: Any) -> None:
        if not other.ident:
            other.start()
            other.join(0.3)
        append(self, *decision)

    monkeypatch.setattr(Decisions, "_append", append_slowly)
    first.decide(token, 0, None, 3, 0)
    other.join()
    assert len(lines(folder / "reviewed.jsonl")) == len(lines(folder / "reviewed.list")) == 2


def test_windows_become_events(folder):
    make_results(folder, {str(folder / "videos/a.mp4"): [0.9, 0.1, 0, 0]}, [(0.0, 1.0), (1.0, 2.0)])
    client = client_of(folder)
    decide(client, 0, 0)
    decide(client, 1, 3)
    assert not (folder / "reviewed.list").exists()
    events = read_events(folder / "reviewed_events.jsonl")
    assert events == [("golf", 0.0, 1.0), ("running on treadmill", 1.0, 2.0)]


def test_an_evaluation_is_reviewed_with_its_labels(tmp_path, clip):
    for n in range(3):
        (tmp_path / f"{n}.mp4").write_bytes(clip)
    evaluation = make_evaluation([0, 1, 2], [0, 2, 2], list={"path": str(tmp_path / "val.list"), "fingerprint": "a"})
    write_evaluation(tmp_path / "eval", evaluation, lambda video: None)
    client = client_of(tmp_path)
    data = client.get("/review/data").json()
    assert data["labels"] == [0, 1, 2] and data["problems"] == [""] * 3
    assert data["choices"][1][1] == [1, None] and len(data["choices"][0]) == 1
    assert decide(client, 1, 2).json()["scores"]["relabelled"] == 1
    assert lines(tmp_path / "reviewed.list") == [f"{tmp_path}/1.mp4 2"]
    assert sorted(path.name for path in (tmp_path / "eval").iterdir() if "review" in path.name) == []


# --- what is refused


@pytest.mark.parametrize(
    ("status", "said", "changes"),
    [
        (400, "no such class", {"new": 4}),
        (400, "no decision", {"new": "golf"}),
        (400, "no decision", {"new": True}),
        (404, "no such prediction", {"item": 4}),
        (409, "The video is missing", {"item": 3}),
        (409, "have changed", {"token": "other"}),
        (413, "too large", {"more": "x" * (1 << 16)}),
    ],
)
def test_a_decision_that_cannot_be_is_refused(folder, status, said, changes):
    refused = decide(client_of(folder), **{"item": 0, "new": 1, **changes})
    assert refused.status_code == status and said in refused.json()["error"]
    assert not (folder / "reviewed.jsonl").exists()


def test_a_missing_video_can_be_marked_as_unusable(folder):
    assert decide(client_of(folder), 3, UNUSABLE).status_code == 200


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (415, {"content-type": "text/plain"}),
        (403, {"origin": "http://example.org"}),
        (403, {"origin": "null"}),
        (421, {"host": "example.org"}),
    ],
)
def test_another_site_cannot_decide(folder, status, headers):
    client = client_of(folder)
    token = client.get("/review/data").json()["token"]
    body = json.dumps({"token": token, "item": 0, "old": None, "new": 1, "since": 0})
    headers = {"content-type": "application/json", **headers}
    assert client.post("/review/decisions", content=body, headers=headers).status_code == status
    own = {"content-type": "application/json", "origin": "http://testserver"}
    assert client.post("/review/decisions", content=body, headers=own).status_code == 200


def test_results_that_change_are_read_again_with_the_page(folder):
    client = client_of(folder)
    old = client.get("/review/data").json()
    decide(client, 0, 3)
    make_results(folder, {str(folder / "videos/a.mp4"): [0.9, 0.1, 0, 0], old["videos"][0]: [0.9, 0.1, 0, 0]})
    body = {"token": old["token"], "item": 1, "old": None, "new": 1, "since": 0}
    refused = client.post("/review/decisions", json=body)
    assert refused.status_code == 409 and "Reload the page" in refused.json()["error"]
    data = client.get("/review/data").json()
    assert len(data["videos"]) == 2 and data["changes"] == [[1, 3]]  # decisions are about videos
    (folder / "TSM_infer_result.jsonl").unlink()
    assert "cannot read the results" in client.get("/review/data").json()["error"]


def test_a_name_that_does_not_fit_a_list_is_not_listed(tmp_path, clip):
    for name in ("two\nlines.mp4", os.fsdecode(b"no\xfftext.mp4")):
        (tmp_path / name).write_bytes(clip)
    make_results(tmp_path, {name: [0.9, 0.1] for name in ("two\nlines.mp4", os.fsdecode(b"no\xfftext.mp4"))})
    client = client_of(tmp_path)
    data = client.get("/review/data").json()
    assert all("does not fit a list" in problem for problem in data["problems"])
    assert data["videos"][0] == "two\\nlines.mp4"
    assert video(client, 1).content == clip and decide(client, 1, 0).status_code == 409


def damaged(folder: Path, change: str) -> None:
    path = folder / "TSM_infer_result.jsonl"
    if change == "missing":
        path.unlink()
    elif change == "partial":
        path.rename(folder / "TSM_infer_result.partial.jsonl")
    elif change == "several":
        (folder / "TSN_infer_result.jsonl").write_bytes(path.read_bytes())
    elif change == "no decisions":
        (folder / "reviewed.list").write_text("a.mp4 0\n")
    elif change in ("decision", "classes"):
        decide(client_of(folder), 0, 0)
        log = folder / "reviewed.jsonl"
        log.write_text(log.read_text().replace('"golf"', '"gulf"' if change == "classes" else "7"))
    else:
        path.write_text(path.read_text() + change)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("missing", "has no results: name the --save_dir"),
        ("partial", "not complete"),
        ("several", r"several results: name one of .*TSM_.* and .*TSN_"),
        ("no decisions", "move it away"),
        ("decision", r"reviewed.jsonl:1: damaged"),
        ("classes", "about other classes: its class 0 is 'gulf', and here it is 'golf'"),
        ('{"video": "a.mp4", "to\n', r"result.jsonl:5: damaged"),
        ('{"video": "a.mp4", "top": []}\n', r"result.jsonl:5: damaged.*no class"),
        ('{"video": "a.mp4", "top": [{"class": 9, "probability": 0.5}]}\n', r"5: damaged.*name"),
        ('{"video": "a.mp4", "top": [{"class": 0, "name": "golf", "probability": 5}]}\n', "between 0 and 1"),
    ],
)
def test_bad_input_is_one_message(folder, change, said):
    damaged(folder, change)
    with pytest.raises(InputError, match=said) as caught:
        client_of(folder)
    assert "\n" not in str(caught.value)


def test_other_places(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        client_of(tmp_path / "none")
    (tmp_path / "TSM_infer_result.jsonl").touch()
    with pytest.raises(InputError, match="nothing to review"):
        client_of(tmp_path)
    make_results(tmp_path, {"away/a.mp4": [0.9, 0.1]})
    with pytest.raises(InputError, match="none of the 1 videos .*, as away/a.mp4: .* start this there"):
        client_of(tmp_path)


def test_links_in_the_place_of_files_are_not_followed(folder, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (folder / "reviewed.jsonl").symlink_to(victim)
    with pytest.raises(InputError, match="link"):
        client_of(folder)
    (folder / "reviewed.jsonl").unlink()
    client = client_of(folder)
    (folder / "reviewed.list").symlink_to(victim)
    decide(client, 0, 1)
    assert victim.read_text() == "kept" and len(lines(folder / "reviewed.list")) == 1


# --- numbers


def items_of(confidences: list[float], label: int | None = None) -> list[Item]:
    return [Item(f"{n}.mp4", None, [(0, share), (1, 1 - share)], label) for n, share in enumerate(confidences)]


def test_shares_of_the_reviewed_by_confidence():
    items = items_of([0.3, 0.35, 0.39, 0.9, 1.0])
    decisions = {("0.mp4", None): 1, ("1.mp4", None): 0, ("2.mp4", None): UNUSABLE, ("3.mp4", None): None}
    scores = Scores(items, random_ranks(items)).of({**decisions, ("other.mp4", None): 0})
    low, high = wilson_interval(1, 2)
    assert scores["reviewed"] == {"right": 1, "count": 2, "low": low, "high": high}
    assert (scores["items"], scores["done"], scores["unusable"]) == (5, 3, 1)
    assert [(each["items"], each["count"], each["right"]) for each in scores["bins"]] == [
        (0, 0, 0),
        (3, 2, 1),
        (0, 0, 0),
        (0, 0, 0),
        (2, 0, 0),
    ]
    assert scores["bounds"] == [1 / 4, 3 / 4]


def test_the_estimate_for_all_is_of_a_random_sample():
    draw = np.random.default_rng(0)
    items = items_of(draw.uniform(0.2, 1.0, 400).tolist())
    ranks, right = random_ranks(items), draw.random(400) < [item.confidence for item in items]
    truth, scores = right.mean(), Scores(items, ranks)

    def reviewed(order: np.ndarray) -> dict[str, Any]:
        return scores.of({items[n].key: int(not right[n]) for n in order.tolist()})

    least = reviewed(np.argsort([item.confidence for item in items])[:100])
    assert least["reviewed"]["high"] < truth and least["sample"]["count"] < 10
    assert least["bounds"][0] <= truth <= least["bounds"][1]
    found = reviewed(np.argsort(ranks)[:100])
    assert found["sample"]["count"] == 100 and found["sample"]["low"] < truth < found["sample"]["high"]
    whole = reviewed(ranks)
    assert whole["sample"]["right"] == right.sum() and whole["bounds"] == [truth, truth]
