"""Lists of videos into batches: every video counted, in the right order, with the right frames."""

from __future__ import annotations

import math
import multiprocessing
import pickle
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from media import decode_all, encode_images, levels, logged, make_config, make_list, make_pickle, make_video, noise

from video_zoo.configs.schema import Config
from video_zoo.datareader import open_reader
from video_zoo.datareader import reader as reader_module
from video_zoo.datareader.batches import Batch, Sample
from video_zoo.datareader.clip_reader import Chunk, ClipReader
from video_zoo.datareader.decode import decode_video
from video_zoo.datareader.reader import TooManyBadVideos, VideoReader, _Schedule
from video_zoo.datareader.sampling import segment_indices
from video_zoo.datareader.transforms import EvalTransform, Size
from video_zoo.datareader.video_list import Video
from video_zoo.datareader.views import View
from video_zoo.datareader.workers import WorkerPool
from video_zoo.utils.errors import InputError
from video_zoo.utils.runtime import ALONE, Launch

VIDEOS = 7
MODES = ["train", "valid", "test", "infer"]
PKL = {"format": "pkl"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """v0.mp4 ... v6.mp4 of 10 to 16 frames, pickles of the same names, a bad video, and lists of all but that."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(VIDEOS):
        make_video(folder / f"v{number}.mp4", noise(10 + number, 24, 32, seed=number))
        make_pickle(folder / f"v{number}.pkl", levels(10 + number, first=20 * number), number % 4)
    (folder / "bad.mp4").write_text("This is no video.")
    (folder / "bad.pkl").write_text("This is no pickle.")
    make_list(folder / "all.list", [f"v{number}.mp4 {number % 4}" for number in range(VIDEOS)])
    make_list(folder / "pkl.list", [f"v{number}.pkl" for number in range(VIDEOS)])
    return folder


def make_reader(mode: str, filelist: Path | str, model: dict | None = None, **keys: object) -> VideoReader:
    return open_any(mode, make_config(mode, str(filelist), model, **keys))


def open_any(mode: str, config: Config, launch: Launch = ALONE) -> VideoReader:
    """As TSM is trained and evaluated."""
    return open_reader(mode, config, "multi_scale_crop" if mode == "train" else "center_crop", launch=launch)


def read(mode: str, filelist: Path | str, model: dict | None = None, **keys: object) -> list[Batch]:
    with make_reader(mode, filelist, model, **keys) as reader:
        return list(reader)


def ids(batches: list[Batch]) -> list[str]:
    return [name for batch in batches for name in batch.ids]


def videos(batches: list[Batch]) -> list[str]:
    """Without the black clips that stand for batches of which nothing could be read."""
    return [name for name in ids(batches) if name]


def clips(batches: list[Batch]) -> np.ndarray:
    return np.concatenate([batch.clips for batch in batches])


def center_crops(frames: np.ndarray, short_size: int, target_size: int) -> np.ndarray:
    transform = EvalTransform(short_size, target_size, keep_aspect=False).draw(Size(*frames.shape[2:0:-1]))
    return np.stack([transform(frame) for frame in frames])


def same(ours: list[Batch], theirs: list[Batch]) -> bool:
    """To the bit."""
    return (
        ids(ours) == ids(theirs)
        and np.array_equal(clips(ours), clips(theirs))
        and [batch.labels.tolist() for batch in ours] == [batch.labels.tolist() for batch in theirs]
        and [batch.global_batch_size for batch in ours] == [batch.global_batch_size for batch in theirs]
    )


def mixed_list(folder: Path, tmp_path: Path, files: str) -> str:
    """A list of v0, v1 ... where `files` has a dot, and of the bad video where it has an x."""
    names = [f"v{number % VIDEOS}.mp4" if mark == "." else "bad.mp4" for number, mark in enumerate(files)]
    return make_list(tmp_path / "mixed.list", [f"{folder / name} {n % 4}" for n, name in enumerate(names)])


# --- every video, once, in the right order


@pytest.mark.parametrize("mode", ["valid", "test", "infer"])
def test_batches_follow_the_list_and_the_last_one_is_partial(folder, mode):
    batches = read(mode, folder / "all.list", batch_size=3)
    assert [len(batch.ids) for batch in batches] == [batch.global_batch_size for batch in batches] == [3, 3, 1]
    assert ids(batches) == [f"v{number}.mp4" for number in range(VIDEOS)]
    for batch in batches:
        assert batch.clips.shape == (len(batch.ids), 2, 3, 16, 16) and batch.clips.dtype == np.uint8
        assert batch.labels.shape == (len(batch.ids),) and batch.labels.dtype == np.int64


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, VIDEOS - 1), min_size=1, max_size=9), st.integers(1, 10), st.sampled_from(MODES))
def test_every_video_of_any_list_is_counted(folder, tmp_path, numbers, batch_size, mode):
    filelist = make_list(tmp_path / "some.list", [str(folder / f"v{number}.pkl") for number in numbers])
    with make_reader(mode, filelist, PKL, batch_size=batch_size) as reader:
        batches = list(reader)
        assert len(reader) == len(numbers)
        assert reader.batches == len(batches) == math.ceil(len(numbers) / batch_size)
    assert sum(batch.global_batch_size for batch in batches) == len(numbers)
    assert sorted(ids(batches)) == sorted(f"v{number}" for number in numbers)
    assert [len(batch.ids) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert 1 <= len(batches[-1].ids) <= batch_size
    if mode != "train":
        assert ids(batches) == [f"v{number}" for number in numbers]


def test_training_reads_every_video_in_an_order_drawn_anew(folder):
    with make_reader("train", folder / "pkl.list", PKL, batch_size=3) as reader:
        epochs = [ids(list(reader)) for _ in range(4)]
        assert reader.epoch == 4
    assert all(sorted(epoch) == [f"v{number}" for number in range(VIDEOS)] for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 4


def test_the_seed_decides_the_order_and_the_draws(folder):
    first, again, other = (read("train", folder / "all.list", seed=seed) for seed in (3, 3, 4))
    assert ids(first) == ids(again) and np.array_equal(clips(first), clips(again))
    assert ids(first) != ids(other)
    ours, theirs = (dict(zip(ids(batches), clips(batches))) for batches in (first, other))
    assert not any(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_an_epoch_draws_its_own_clips_and_can_be_asked_for(folder):
    def one_clip_an_epoch(reader: VideoReader) -> dict[str, bytes]:
        return {name: clip.tobytes() for batch in reader for name, clip in zip(batch.ids, batch.clips)}

    with make_reader("train", folder / "all.list") as reader:
        epochs = [one_clip_an_epoch(reader) for _ in range(3)]
    assert all(epochs[0][name] != epochs[1][name] for name in epochs[0])
    with make_reader("train", folder / "all.list") as reader:
        reader.epoch = 2  # as after a resume
        assert list(one_clip_an_epoch(reader).items()) == list(epochs[2].items())


def test_validation_is_the_same_each_time(folder):
    with make_reader("valid", folder / "all.list") as reader:
        assert np.array_equal(clips(list(reader)), clips(list(reader)))


@pytest.mark.parametrize("mode", ["train", "test"])
def test_the_number_of_processes_changes_nothing(folder, tmp_path, mode):
    filelist = mixed_list(folder, tmp_path, "..x....")
    results = []
    for workers in (0, 1, 2):
        with make_reader(mode, filelist, num_reader_threads=workers, batch_size=4, max_bad_videos=0.5) as reader:
            results.append((list(reader), list(reader), reader.failures))
    alone, alone_again, failures = results[0]
    assert len(failures) == 1
    assert same(alone, alone_again) == (mode == "test")
    for shared, shared_again, shared_failures in results[1:]:
        assert same(shared, alone) and same(shared_again, alone_again) and shared_failures == failures


@pytest.mark.parametrize("mode", ["train", "test"])
def test_a_line_is_drawn_for_alike_wherever_it_comes_in_the_order(folder, tmp_path, mode):
    """A clip hangs on the seed, the epoch and its line: not on what was read before it, or by whom."""
    names = [f"v{number}.mp4" for number in range(VIDEOS)]
    good = make_list(tmp_path / "good.list", [f"{folder / name} 0" for name in names])
    bad = make_list(
        tmp_path / "bad.list", [f"{folder / (name if n % 2 else 'bad.mp4')} 0" for n, name in enumerate(names)]
    )
    whole, half = (
        {
            name: clip
            for batch in read(mode, filelist, max_bad_videos=0.9)
            for name, clip in zip(batch.ids, batch.clips)
            if name
        }
        for filelist in (good, bad)
    )
    assert len(whole) == VIDEOS and len(half) == VIDEOS // 2
    assert all(np.array_equal(half[name], whole[name]) for name in half)


@pytest.mark.parametrize(
    "threads, cores, videos, processes", [(0, 8, 7, 0), (1, 8, 7, 1), (2, 8, 7, 2), (12, 2, 7, 2), (5, 8, 1, 1)]
)
def test_there_are_as_many_processes_as_asked_for_and_useful(
    folder, tmp_path, monkeypatch, threads, cores, videos, processes
):
    """One a core at most, and one a video."""
    monkeypatch.setattr(reader_module, "usable_cores", lambda: cores)
    before = set(multiprocessing.active_children())
    with make_reader("test", mixed_list(folder, tmp_path, "." * videos), num_reader_threads=threads) as reader:
        batches = iter(reader)
        next(batches)
        assert len(set(multiprocessing.active_children()) - before) == processes
        batches.close()
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.parametrize(
    "buf_size, batch_size, videos, ahead",
    [(1024, 2, 7, 5), (1024, 16, 7, 7), (3, 2, 7, 3), (1, 2, 7, 1), (1024, 1, 7, 3)],
)
def test_buf_size_bounds_the_clips_read_ahead(folder, tmp_path, monkeypatch, buf_size, batch_size, videos, ahead):
    """Two batches and one clip a process are enough, and the list's length."""
    asked = []

    class Pool(WorkerPool):
        def __init__(self, *args, **kwargs):
            asked.append(kwargs)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(reader_module, "WorkerPool", Pool)
    filelist = mixed_list(folder, tmp_path, "." * videos)
    batches = read("test", filelist, num_reader_threads=1, buf_size=buf_size, batch_size=batch_size)
    assert asked[0]["ahead"] == ahead and asked[0]["shape"] == (1, 2, 3, 16, 16)
    assert same(batches, read("test", filelist, batch_size=batch_size))


def test_a_batch_is_the_callers_own(folder):
    """The next ones are not written over it."""
    with make_reader("test", folder / "all.list", num_reader_threads=1, buf_size=2) as reader:
        batches, copies = [], []
        for batch in reader:
            batches.append(batch)
            copies.append(batch.clips.copy())
    assert len(batches) == 4 and all(np.array_equal(batch.clips, copy) for batch, copy in zip(batches, copies))


def test_a_reader_can_be_left_in_the_middle_and_begun_again(folder):
    with make_reader("valid", folder / "all.list", num_reader_threads=1) as reader:
        assert next(iter(reader)).ids == ["v0.mp4", "v1.mp4"]
        assert ids(list(reader)) == [f"v{number}.mp4" for number in range(VIDEOS)]


# --- from the middle of a pass


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("mode", ["train", "valid"])
def test_a_pass_can_begin_at_any_batch(folder, tmp_path, mode, workers):
    """It gives exactly the batches from there; the next pass is whole again. Bad videos do not move them."""
    filelist = mixed_list(folder, tmp_path, "..x....")
    keys = {"batch_size": 2, "num_reader_threads": workers, "max_bad_videos": 0.5}
    with make_reader(mode, filelist, **keys) as reader:
        whole, next_whole = list(reader), list(reader)
    with make_reader(mode, filelist, **keys) as reader:
        for first in range(len(whole) + 1):
            reader.epoch, reader.first_batch = 0, first
            rest = list(reader)
            assert len(rest) == len(whole) - first and (not rest or same(rest, whole[first:]))
            assert (reader.epoch, reader.first_batch) == (1, 0)
            if first % 2:
                assert same(list(reader), next_whole)


def test_two_trainings_stopped_at_once_go_on_at_their_own_places(folder):
    """Twice in a row, the first one left in its middle: nothing of it comes in the second."""
    with make_reader("train", folder / "all.list", batch_size=2) as reader:
        whole = list(reader)
    with make_reader("train", folder / "all.list", batch_size=2, num_reader_threads=2) as reader:
        for first in (1, 2):
            reader.epoch, reader.first_batch = 0, first
            batches = iter(reader)
            assert same([next(batches)], whole[first : first + 1])
            batches.close()
        reader.epoch, reader.first_batch = 0, 3
        assert same(list(reader), whole[3:])


def test_videos_before_the_first_batch_are_not_read(folder, tmp_path):
    """So going on is as quick as beginning, and their failures are not this pass's."""
    with make_reader("valid", mixed_list(folder, tmp_path, "xx..."), max_bad_videos=0.5) as reader:
        reader.first_batch = 1
        assert [Path(name).stem for name in ids(list(reader))] == ["v2", "v3", "v4"]
        assert reader.failures == []


# --- several ranks


def ranks_of(size: int, mode: str, filelist: str | Path, model: dict | None = None, **keys) -> list[list[Batch]]:
    """A pass of each rank."""
    config = make_config(mode, str(filelist), model, **keys)
    passes = []
    for rank in range(size):
        with open_any(mode, config, Launch(rank, size, rank, size)) as reader:
            passes.append(list(reader))
    return passes


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 17), st.integers(2, 7), st.sampled_from([2, 3]), st.integers(0, 3))
def test_the_ranks_parts_are_together_the_batches_of_one_process(folder, tmp_path, length, batch_size, size, seed):
    """To the bit, in the same order, each video once; and each rank takes as many steps as the others."""
    batch_size = max(batch_size, size)
    filelist = make_list(tmp_path / "some.list", [str(folder / f"v{number % VIDEOS}.pkl") for number in range(length)])
    alone = read("train", filelist, PKL, batch_size=batch_size, seed=seed)
    ranks = ranks_of(size, "train", filelist, PKL, batch_size=batch_size, seed=seed)
    assert {len(batches) for batches in ranks} == {len(alone)} == {math.ceil(length / batch_size)}
    for whole, *parts in zip(alone, *ranks):
        assert {part.global_batch_size for part in parts} == {whole.global_batch_size} == {len(whole.ids)}
        assert parts[0].ids != [""]  # the first rank has one if anyone has
        shares = [math.ceil(len(whole.ids) * rank / size) for rank in range(size + 1)]
        for part, first, last in zip(parts, shares, shares[1:]):
            assert part.ids == (whole.ids[first:last] or [""])
        assert max(len(part.ids) for part in parts) <= math.ceil(batch_size / size)
        for part in parts:
            assert part.ids == [""] or "" not in part.ids
            if part.ids == [""]:
                assert part.labels.tolist() == [-1] and not part.clips.any() and len(whole.ids) < size
        parts = [part for part in parts if part.ids != [""]]
        assert ids(parts) == whole.ids
        assert np.array_equal(clips(parts), whole.clips)
        assert np.concatenate([part.labels for part in parts]).tolist() == whole.labels.tolist()


@pytest.mark.parametrize("mode", ["valid", "test", "infer"])
@pytest.mark.parametrize("batch_size", [2, 3, 7])
def test_where_ranks_need_no_steps_together_each_has_its_videos_alone(folder, mode, batch_size):
    """No black clips: each video counts once."""
    passes = ranks_of(2, mode, folder / "all.list", batch_size=batch_size)
    names = [name for batches in passes for name in ids(batches)]
    assert sorted(names) == [f"v{number}.mp4" for number in range(VIDEOS)]
    assert all(batch.labels.tolist() == [int(name[1]) % 4 for name in batch.ids] for one in passes for batch in one)


def test_a_rank_goes_on_in_the_middle_as_the_others_do(folder):
    config = make_config("train", str(folder / "all.list"), batch_size=2)
    for rank, whole in enumerate(ranks_of(2, "train", folder / "all.list", batch_size=2)):
        with open_any("train", config, Launch(rank, 2)) as reader:
            reader.first_batch = 1
            assert same(list(reader), whole[1:])


def test_each_rank_knows_its_own_bad_videos(folder, tmp_path):
    """And takes the steps of the others all the same."""
    filelist = mixed_list(folder, tmp_path, "x.......")
    config = make_config("train", filelist, batch_size=2, max_bad_videos=0.5)
    failures = []
    for rank in range(2):
        with open_any("train", config, Launch(rank, 2)) as reader:
            batches = list(reader)
            assert len(batches) == reader.batches == 4 and len(reader) == 8
            failures += [(rank, failure.video.line) for failure in reader.failures]
            assert sum(batch.ids == [""] for batch in batches) == len(reader.failures)
    assert [line for _, line in failures] == [1]


@pytest.mark.parametrize("mode", ["train", "valid"])
def test_a_batch_smaller_than_the_ranks_is_refused(folder, mode):
    config = make_config(mode, str(folder / "all.list"), batch_size=2)
    with pytest.raises(InputError, match=rf"{mode.upper()}\.batch_size = 2 is that of all 3 processes together"):
        open_any(mode, config, Launch(0, 3))


@pytest.mark.parametrize(
    "threads, cores, local_size, processes", [(12, 8, 2, 4), (12, 8, 8, 1), (12, 2, 8, 1), (3, 8, 2, 3), (0, 8, 2, 0)]
)
def test_the_ranks_of_a_machine_share_its_cores(folder, monkeypatch, threads, cores, local_size, processes):
    asked = []

    class Pool(WorkerPool):
        def __init__(self, read, workers, **kwargs):
            asked.append((workers, kwargs["ahead"]))
            super().__init__(read, workers, **kwargs)

    monkeypatch.setattr(reader_module, "usable_cores", lambda: cores)
    monkeypatch.setattr(reader_module, "WorkerPool", Pool)
    config = make_config("test", str(folder / "all.list"), num_reader_threads=threads, batch_size=1)  # of each process
    with open_any("test", config, Launch(6, 8, 0, local_size)) as reader:
        assert ids(list(reader)) == ["v6.mp4"]
    assert asked == [(processes, min(VIDEOS, 2 + processes))]  # two batches, of each of which one clip is this rank's


# --- which list it is


def test_the_fingerprint_is_of_names_labels_and_their_order(folder, tmp_path):
    def fingerprint(*lines: str, mode: str = "train") -> str:
        with make_reader(mode, make_list(tmp_path / "my.list", lines)) as reader:
            return reader.fingerprint()

    for place in ("a", "elsewhere"):  # of a list of which nothing is there, there is no reader
        (tmp_path / place).mkdir()
        (tmp_path / place / "x.mp4").touch()
        (tmp_path / place / "y.mp4").touch()
    first = fingerprint("a/x.mp4 0", "a/y.mp4 1")
    assert re.fullmatch("[0-9a-f]{16}", first)
    assert fingerprint("elsewhere/x.mp4 0", "", "/b/y.mp4 1") == first  # the folder has moved
    others = [
        fingerprint("a/y.mp4 1", "a/x.mp4 0"),
        fingerprint("a/x.mp4 0", "a/y.mp4 2"),
        fingerprint("a/x.mp4 0", "a/z.mp4 1"),
        fingerprint("a/x.mp4 0"),
        fingerprint("a/x.mp4 0", "a/y.mp4 1", "a/y.mp4 1"),
        fingerprint("a/x.mp4", "a/y.mp4", mode="infer"),
    ]
    assert len({first, *others}) == 7
    assert first == fingerprint("a/x.mp4 0", "a/y.mp4 1")


# --- what is in a batch


@pytest.mark.contract
@pytest.mark.parametrize("mode", ["valid", "test", "infer"])
def test_the_frames_are_v15s(folder, mode):
    batches = read(mode, folder / "all.list", {"seg_num": 4}, short_size=18, target_size=16)
    for number, clip in enumerate(clips(batches)):
        frames = decode_all(folder / f"v{number}.mp4")[segment_indices(10 + number, 4)]
        assert np.array_equal(clip, center_crops(frames, 18, 16))


@pytest.mark.parametrize("mode", MODES)
def test_all_decoders_give_the_same_frames(folder, mode):
    pyav, opencv, auto = (read(mode, folder / "all.list", decoder=decoder) for decoder in ("pyav", "opencv", "auto"))
    assert same(pyav, opencv) and same(auto, pyav)


@pytest.mark.parametrize("mode", MODES)
def test_fast_crop_differs_by_two_levels_at_most(folder, mode):
    """And its draws are the same."""
    exact, fast = (
        read(mode, folder / "all.list", short_size=20, target_size=13, fast_crop=fast) for fast in (False, True)
    )
    assert ids(exact) == ids(fast)
    difference = np.abs(clips(exact).astype(int) - clips(fast))
    assert difference.max() <= (4 if mode == "train" else 2)  # training scales twice


def test_clips_that_cannot_fit_into_memory_are_refused(tmp_path):
    """Before anything is reserved, with what they would take."""
    large = {"model": {"num_classes": 4, "seg_num": 10_000}, "short_size": 16384, "target_size": 16384}
    (tmp_path / "a.mp4").touch()
    config = make_config("train", make_list(tmp_path / "a.list", ["a.mp4 1"]), batch_size=1_000_000, **large)
    with pytest.raises(InputError, match=r"TRAIN\.batch_size = 1000000: .* takes [\d,]+\.\d GB, and this machine has"):
        open_reader("train", config)


def test_keep_aspect_changes_what_is_read(folder):
    squeezed, kept = (
        clips(read("test", folder / "all.list", short_size=18, keep_aspect=keep)) for keep in (False, True)
    )
    assert np.array_equal(squeezed, kept)  # 32 x 24 is 4:3
    path = make_video(folder / "wide.mp4", noise(4, 20, 48))
    filelist = make_list(folder / "wide.list", [f"{path} 0"])
    squeezed, kept = (clips(read("test", filelist, short_size=18, keep_aspect=keep)) for keep in (False, True))
    assert not np.array_equal(squeezed, kept)


@pytest.mark.parametrize("mode", MODES)
def test_labels_and_ids_are_the_lists(folder, mode):
    batches = read(mode, folder / "all.list")
    for batch in batches:
        for name, label in zip(batch.ids, batch.labels):
            assert label == int(name[1]) % 4


def test_infer_needs_no_labels(folder, tmp_path):
    filelist = make_list(tmp_path / "infer.list", [str(folder / "v0.mp4"), f"{folder / 'v1.mp4'} 3"])
    (batch,) = read("infer", filelist)
    assert batch.labels.tolist() == [-1, 3]
    assert batch.ids == [str(folder / "v0.mp4"), str(folder / "v1.mp4")]
    with pytest.raises(InputError, match="line 1: .*has no label"):
        make_reader("test", filelist)


def test_a_section_overrides_the_number_of_segments(folder):
    for mode, expected in (("test", 5), ("valid", 2)):
        keys = {"seg_num": 5} if mode == "test" else {}
        assert clips(read(mode, folder / "all.list", **keys)).shape == (VIDEOS, expected, 3, 16, 16)


@pytest.mark.contract
@pytest.mark.parametrize("mode", MODES)
def test_seglen_gives_consecutive_frames(folder, mode):
    """Pickles of grey frames that count up: the levels are the frames' numbers."""
    batches = read(mode, folder / "pkl.list", {"seglen": 3, "seg_num": 3, **PKL})
    assert clips(batches).shape == (VIDEOS, 9, 3, 16, 16)
    for name, clip in zip(ids(batches), clips(batches)):
        number = int(name[1])
        assert (clip == clip[:, :1, :1, :1]).all()  # grey
        frames = clip[:, 0, 0, 0].astype(int).reshape(3, 3) - 20 * number  # (segments, seglen)
        length = (10 + number) // 3
        assert (np.diff(frames) == 1).all() and (frames // length == np.arange(3)[:, None]).all()
        if mode != "train":
            assert frames[:, 0].tolist() == [segment * length + (length - 3) // 2 for segment in range(3)]


def test_a_pickle_gives_its_own_id_and_label(tmp_path):
    make_pickle(tmp_path / "file.pkl", levels(4, first=9), 2, video_id="abc_0001")
    filelist = make_list(tmp_path / "pkl.list", ["file.pkl"])
    for mode in MODES:
        (batch,) = read(mode, filelist, PKL)
        assert batch.ids == ["abc_0001"] and batch.labels.tolist() == [2]
        if mode != "train":
            assert batch.clips[0, :, 0, 0, 0].tolist() == [9, 11]  # (2 - 1) // 2 = 0 within each half


@pytest.mark.parametrize("mode", ["train", "valid", "test"])
@pytest.mark.parametrize("label", [-1, 4])
def test_a_pickles_label_out_of_range_is_an_error(tmp_path, mode, label):
    make_pickle(tmp_path / "a.pkl", levels(4), label)
    filelist = make_list(tmp_path / "pkl.list", ["a.pkl"])
    with pytest.raises(InputError, match=rf"a\.pkl: label {label} is .* 4 classes, 0 to 3 \(MODEL\.num_classes\)"):
        read(mode, filelist, PKL)
    assert ids(read("infer", filelist, PKL)) == ["a"]


def test_tsm_crops_at_several_sizes_and_tsn_at_one(tmp_path):
    """A ramp of 64 px cut to 60: TSM's resized crops are steeper."""
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None], (4, 64, 64, 3)).copy()
    make_pickle(tmp_path / "ramp.pkl", ramp, 0)
    filelist = make_list(tmp_path / "pkl.list", ["ramp.pkl"] * 40)
    slopes = {}
    for name, transform in (("TSM", "multi_scale_crop"), ("TSN", "random_crop")):
        config = make_config("train", filelist, PKL, short_size=64, target_size=60, flip=False)
        with open_reader("train", config, transform) as reader:
            rows = clips(list(reader))[:, 0, 0, 0].astype(int)
        slopes[name] = {right - left for left, right in rows[:, [0, -1]]}
    assert slopes["TSN"] == {59}
    assert len(slopes["TSM"]) > 2


def test_flip_can_be_switched_off(tmp_path):
    ramp = np.broadcast_to(np.arange(20, dtype=np.uint8)[:, None], (4, 16, 20, 3)).copy()
    make_pickle(tmp_path / "ramp.pkl", ramp, 0)
    filelist = make_list(tmp_path / "pkl.list", ["ramp.pkl"] * 40)
    for flip, signs in ((True, {-1, 1}), (False, {1})):
        rows = clips(read("train", filelist, PKL, flip=flip))[:, 0, 0, 0].astype(int)
        assert set(np.sign(rows[:, -1] - rows[:, 0])) == signs


@pytest.mark.parametrize("kind", ["pkl", "mp4", "frames"])
def test_a_mirrored_clip_of_left_is_one_of_right(tmp_path, kind):
    """The pixels tell whether a clip was mirrored, and its name what its label was; 0 and 2 are a pair."""
    ramp = np.broadcast_to(10 * np.arange(20, dtype=np.uint8)[:, None], (4, 16, 20, 3)).copy()
    for label in range(3):
        if kind == "pkl":
            make_pickle(tmp_path / f"{label}.pkl", ramp, label)
        elif kind == "mp4":
            make_video(tmp_path / f"{label}.mp4", ramp)
        else:
            (tmp_path / f"{label}").mkdir()
            for number, image in enumerate(encode_images(ramp), 1):
                (tmp_path / f"{label}/img_{number:05}.jpg").write_bytes(image)
    line = {"pkl": "{0}.pkl", "mp4": "{0}.mp4 {0}", "frames": "{0} 4 {0}"}[kind]
    filelist = make_list(tmp_path / "ramp.list", [line.format(number % 3) for number in range(30)])
    for flip_labels, pairs in (([[0, 2]], {0: 2, 2: 0}), (None, {}), ([], {})):
        batches = read("train", filelist, {"format": kind}, flip_labels=flip_labels)
        rows = clips(batches)[:, 0, 0, 0].astype(int)
        mirrored = rows[:, -1] < rows[:, 0]
        labels = [int(Path(name).stem) for name in ids(batches)]
        assert len(set(zip(labels, mirrored))) == 6
        expected = [pairs.get(label, label) if turned else label for label, turned in zip(labels, mirrored)]
        assert np.concatenate([batch.labels for batch in batches]).tolist() == expected


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([[0, 4]], "flip_labels has 4, which is not one of the 4 classes"),
        ([[-1, 2]], "flip_labels has -1, which"),
        ([[0, 1], [1, 2]], "flip_labels has the class 1 twice"),
        ([[3, 3]], "flip_labels has the class 3 twice"),
    ],
)
def test_pairs_that_are_no_pairs_of_classes_are_refused(folder, pairs, message):
    with pytest.raises(InputError, match=message):
        make_reader("train", folder / "all.list", flip_labels=pairs)


# --- bad videos


def test_a_bad_video_is_named_and_missing_in_its_batch(folder, tmp_path):
    filelist = mixed_list(folder, tmp_path, ".x...")
    with logged() as lines, make_reader("test", filelist, max_bad_videos=0.5) as reader:
        batches = list(reader)
        reader.report_failures()
        reader.check_failures()
    assert [[Path(name).stem for name in batch.ids] for batch in batches] == [["v0"], ["v2", "v3"], ["v4"]]
    assert [batch.labels.tolist() for batch in batches] == [[0], [2, 3], [0]]
    assert [batch.global_batch_size for batch in batches] == [2, 2, 1]
    assert len(reader) == 5
    ((video, reason),) = reader.failures
    assert video.path == str(folder / "bad.mp4") and video.line == 2 and "no video" in reason
    named = re.compile(r"bad\.mp4 \(line 2\): it is no video")
    assert [bool(named.search(line)) for line in lines] == [True, False, True]
    assert "1 of 5 videos could not be read" in lines[1]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("mode", MODES)
def test_a_batch_of_which_nothing_could_be_read_is_left_out_but_in_training(folder, tmp_path, mode, workers):
    """There it is one black clip without a label, so that all ranks take as many steps."""
    keys = {"batch_size": 2, "max_bad_videos": 0.9, "num_reader_threads": workers}
    with make_reader(mode, mixed_list(folder, tmp_path, "xxxxx."), **keys) as reader:
        batches = list(reader)
        assert reader.batches == 3 and len(reader.failures) == 5
    (good,) = (batch for batch in batches if batch.ids != [""])
    assert (
        [Path(name).stem for name in good.ids] == ["v5"] and good.labels.tolist() == [1] and good.global_batch_size == 2
    )
    black = [batch for batch in batches if batch is not good]
    assert len(black) == (2 if mode == "train" else 0)
    for batch in black:
        assert batch.labels.tolist() == [-1] and batch.global_batch_size == 2
        assert batch.clips.shape == (1, 2, 3, 16, 16) and not batch.clips.any()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(".x"), min_size=1, max_size=9).filter(lambda marks: "." in marks), st.integers(1, 5))
def test_bad_videos_change_neither_the_number_of_batches_nor_whose_place_is_where(folder, tmp_path, marks, batch_size):
    """A good video is in the batch in which it would be in a list of good ones."""
    files = [str(folder / ("bad.pkl" if mark == "x" else f"v{n % VIDEOS}.pkl")) for n, mark in enumerate(marks)]
    filelist = make_list(tmp_path / "bad.list", files)
    with make_reader("train", filelist, PKL, batch_size=batch_size, max_bad_videos=0.95) as reader:
        batches, failures = list(reader), reader.failures
    assert len(failures) == marks.count("x")
    assert len(batches) == math.ceil(len(marks) / batch_size)
    good = make_list(tmp_path / "good.list", [str(folder / f"v{n % VIDEOS}.pkl") for n in range(len(marks))])
    lines = {failure.video.line for failure in failures}
    with make_reader("train", good, PKL, batch_size=batch_size) as reader:
        order = np.random.default_rng([0, 0]).permutation(len(marks))
        for number, (batch, whole) in enumerate(zip(batches, reader)):
            here = order[number * batch_size : (number + 1) * batch_size]
            left = [place for place, index in enumerate(here) if index + 1 not in lines]
            assert whole.ids == [
                f"v{index % VIDEOS}" for index in here
            ] and batch.global_batch_size == whole.global_batch_size == len(here)
            assert batch.ids == ([whole.ids[place] for place in left] or [""])
            assert not left or np.array_equal(batch.clips, whole.clips[left])


def test_failures_are_of_the_last_pass(folder, tmp_path):
    with make_reader("train", mixed_list(folder, tmp_path, ".x."), max_bad_videos=0.5) as reader:
        for _ in range(2):
            assert len(videos(list(reader))) == 2
            assert len(reader.failures) == 1


def test_nothing_is_reported_of_a_good_list(folder):
    with logged() as lines, make_reader("test", folder / "all.list") as reader:
        list(reader)
        reader.report_failures()
        reader.check_failures()
    assert lines == [] and reader.failures == []


@pytest.mark.parametrize("mode", ["train", "valid", "test"])
def test_too_many_bad_videos_stop_a_run(folder, tmp_path, mode):
    filelist = mixed_list(folder, tmp_path, "x....x.")
    with make_reader(mode, filelist, max_bad_videos=0.2) as reader, pytest.raises(TooManyBadVideos) as caught:
        list(reader)
    message = str(caught.value)
    assert f"2 of 7 videos of {filelist} cannot be read, and {mode.upper()}.max_bad_videos allows 20.0%" in message
    for line in (1, 6):
        assert f"bad.mp4 (line {line}): it is no video" in message
    assert f"--set {mode.upper()}.max_bad_videos=" in message


def test_a_list_of_bad_videos_alone_is_refused_whatever_is_allowed(folder, tmp_path):
    said = pytest.raises(TooManyBadVideos, match="2 of 2 videos of [^,]* cannot be read:")
    with make_reader("test", mixed_list(folder, tmp_path, "xx"), max_bad_videos=1.0) as reader, said as caught:
        list(reader)
        reader.check_failures()
    assert "allow" not in str(caught.value)


@pytest.mark.parametrize("mode", ["train", "valid", "test"])
def test_as_many_bad_videos_as_are_allowed_do_not_stop_it(folder, tmp_path, mode):
    filelist = mixed_list(folder, tmp_path, "x...x...")
    with pytest.raises(TooManyBadVideos):
        read(mode, filelist, max_bad_videos=0.24)
    with make_reader(mode, filelist, max_bad_videos=0.25) as reader:
        assert len(videos(list(reader))) == 6
        reader.check_failures()


def test_bad_videos_do_not_stop_infer_before_its_end(folder, tmp_path):
    with make_reader("infer", mixed_list(folder, tmp_path, "xx.x")) as reader:
        assert [Path(name).stem for name in ids(list(reader))] == ["v2"]
        with pytest.raises(TooManyBadVideos, match="3 of 4 videos .*INFER.max_bad_videos allows 1.0%"):
            reader.check_failures()


@pytest.mark.parametrize("mode", MODES)
def test_a_list_of_bad_videos_alone_is_an_error_whatever_is_allowed(folder, tmp_path, mode):
    with make_reader(mode, mixed_list(folder, tmp_path, "xx"), max_bad_videos=1.0) as reader:
        if mode == "infer":
            assert list(reader) == []
        with pytest.raises(TooManyBadVideos, match="2 of 2 videos"):
            reader.check_failures() if mode == "infer" else list(reader)


def test_the_message_names_ten_of_many(folder, tmp_path):
    with make_reader("infer", mixed_list(folder, tmp_path, "x" * 12)) as reader:
        list(reader)
        with pytest.raises(TooManyBadVideos) as caught:
            reader.check_failures()
    assert str(caught.value).count("bad.mp4 (line") == 10 and "\n  ...\n" in str(caught.value)


@pytest.mark.parametrize("name", ["missing.mp4", "bad.mp4", ".", "x" * 300 + ".mp4"])
def test_whatever_a_line_names_is_at_most_a_bad_video(folder, tmp_path, name):
    filelist = make_list(folder / "odd.list", [f"{name} 0", "v0.mp4 1"])
    with make_reader("test", filelist, max_bad_videos=0.5) as reader:
        assert ids(list(reader)) == ["v0.mp4"]
        assert [failure.video.path for failure in reader.failures] == [name]


def test_a_bad_pickle_is_a_bad_video(folder, tmp_path):
    (tmp_path / "odd.pkl").write_bytes(pickle.dumps(("odd", 0, [b"no image"] * 4)))
    names = [folder / "bad.pkl", tmp_path / "odd.pkl", folder / "v1.pkl", tmp_path / "missing.pkl"]
    filelist = make_list(tmp_path / "pkl.list", [str(name) for name in names])
    with make_reader("test", filelist, PKL, max_bad_videos=0.9) as reader:
        assert ids(list(reader)) == ["v1"]
        reasons = [reason for _, reason in reader.failures]
    for part, reason in zip(("pickle", "is no image", "No such file"), reasons):
        assert part in reason


# --- damaged videos


def make_cut(path: Path, share: float = 2 / 3) -> Path:
    """An mp4 whose header, in front, promises 60 frames; the file ends in the middle of them."""
    make_video(path, noise(60, 24, 32), codec_options={"g": "10"}, file_options={"movflags": "faststart"})
    data = path.read_bytes()
    assert data.find(b"moov") < data.find(b"mdat")
    path.write_bytes(data[: int(share * len(data))])
    return path


@pytest.fixture(scope="module")
def cut_list(tmp_path_factory) -> str:
    """A damaged video between two good ones."""
    folder = tmp_path_factory.mktemp("cut")
    make_cut(folder / "cut.mp4")
    for name in ("a", "b"):
        make_video(folder / f"{name}.mp4", noise(12, 24, 32))
    return make_list(folder / "cut.list", ["a.mp4 0", "cut.mp4 1", "b.mp4 2"])


@pytest.mark.parametrize("mode", MODES)
def test_of_a_damaged_video_the_frames_before_the_damage_are_used(cut_list, tmp_path, mode):
    """It is as if its file held no others."""
    cut = Path(cut_list).parent / "cut.mp4"
    whole_frames = decode_video(cut, range)
    assert 20 < whole_frames.num_frames < 55
    folder = tmp_path / "cut.mp4"
    folder.mkdir()
    for number, data in enumerate(encode_images(np.stack(whole_frames.frames)), 1):
        (folder / f"{number}.png").write_bytes(data)
    images = make_list(tmp_path / "images.list", ["", f"{folder} {whole_frames.num_frames} 1"])  # the same line
    with logged() as lines, make_reader(mode, cut_list, {"seg_num": 8}) as reader:
        batches = list(reader)
        reader.report_failures()
        reader.check_failures()
    assert len(ids(batches)) == 3 and reader.failures == []
    ((video, reason),) = reader.damaged
    assert (video.path, video.line) == ("cut.mp4", 2)
    assert reason.endswith(f"{whole_frames.num_frames} whole frames are used")
    named = re.compile(r"cut\.mp4 \(line 2\): .*cut off")
    assert [bool(named.search(line)) for line in lines] == [True, False, True]
    assert lines[1] == "1 of 3 videos are damaged:"
    expected = read(mode, images, {"format": "frames", "frame_template": "%d.png", "seg_num": 8})
    assert np.array_equal(clips(batches)[ids(batches).index("cut.mp4")], clips(expected)[0])


@pytest.mark.parametrize("mode", MODES)
def test_or_nothing_of_it_is(cut_list, mode):
    with make_reader(mode, cut_list, on_damage="skip", max_bad_videos=0.4) as reader:
        assert sorted(videos(list(reader))) == ["a.mp4", "b.mp4"]
    ((video, reason),) = reader.failures
    assert video.path == "cut.mp4" and "cut off" in reason and reader.damaged == []


def test_damage_is_reported_alike_by_other_processes(cut_list):
    results = []
    for workers in (0, 2):
        with make_reader("test", cut_list, num_reader_threads=workers) as reader:
            results.append((list(reader), reader.damaged))
    assert same(results[0][0], results[1][0]) and results[0][1] == results[1][1] != []


def test_damage_is_of_the_last_pass(cut_list):
    with make_reader("train", cut_list) as reader:
        for _ in range(2):
            assert len(ids(list(reader))) == 3 and len(reader.damaged) == 1


def test_a_damaged_video_with_too_few_frames_cannot_be_read(tmp_path):
    filelist = make_list(tmp_path / "cut.list", [f"{make_cut(tmp_path / 'cut.mp4')} 0"])
    count = decode_video(tmp_path / "cut.mp4", range).num_frames
    for seg_num in (count, count + 1):
        with make_reader("infer", filelist, {"seg_num": seg_num}) as reader:
            assert len(ids(list(reader))) == (seg_num == count)
            assert len(reader.damaged) == (seg_num == count)
    assert re.search(rf"cut off.*whole frames: {count}, and {count + 1} are needed", reader.failures[0].reason)


def test_a_short_video_that_is_whole_is_used(tmp_path):
    """v1.5 takes frames of it twice."""
    filelist = make_list(tmp_path / "short.list", [f"{make_video(tmp_path / 'short.mp4', noise(3, 24, 32))} 0"])
    with make_reader("test", filelist, {"seg_num": 8}) as reader:
        assert len(ids(list(reader))) == 1
        assert reader.failures == reader.damaged == []


class HangingReader(ClipReader):
    """One file never comes to its end."""

    def __call__(self, video: Video, *rest: object) -> Chunk:
        if video.path.endswith("hangs.pkl"):
            time.sleep(600)
        return super().__call__(video, *rest)


def test_a_file_that_hangs_is_given_up_and_named(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("video_zoo.datareader.ClipReader", HangingReader)
    names = [folder / "v0.pkl", tmp_path / "hangs.pkl", *(folder / f"v{number}.pkl" for number in range(1, 6))]
    filelist = make_list(tmp_path / "pkl.list", [str(name) for name in names])
    keys = {"num_reader_threads": 2, "decode_timeout_s": 1, "max_bad_videos": 0.2}
    with make_reader("test", filelist, PKL, **keys) as reader:
        assert ids(list(reader)) == [f"v{number}" for number in range(6)]
        ((video, reason),) = reader.failures
    assert video.line == 2 and reason == "it took longer than decode_timeout_s, 1 seconds"


# --- folders of images

FRAMES = {"format": "frames", "frame_template": "%04d.png", "first_frame": 1}


@pytest.fixture(scope="module")
def frame_folders(folder) -> Path:
    """The frames of v0.mp4 ... as images in folders v0 ..., from number 1 and, in zero/v0 ..., from number 0."""
    for number in range(VIDEOS):
        data = encode_images(np.stack(decode_video(folder / f"v{number}.mp4", range).frames))
        for first, parent in ((1, folder), (0, folder / "zero")):
            (parent / f"v{number}").mkdir(parents=True)
            for place, image in enumerate(data, first):
                (parent / f"v{number}" / f"{place:04d}.png").write_bytes(image)
    for parent in (folder, folder / "zero"):
        lines = [f"v{number} {10 + number}" for number in range(VIDEOS)]
        make_list(parent / "unlabelled.list", lines)
        make_list(parent / "labelled.list", [f"{line} {number % 4}" for number, line in enumerate(lines)])
    return folder


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seglen", [1, 2])
def test_a_videos_frames_as_images_give_the_videos_clips(frame_folders, mode, seglen):
    """The same draws too."""
    videos = read(mode, frame_folders / "all.list", {"seglen": seglen}, short_size=20)
    images = read(mode, frame_folders / "labelled.list", {"seglen": seglen, **FRAMES}, short_size=20)
    assert ids(images) == [name.removesuffix(".mp4") for name in ids(videos)]
    assert np.array_equal(clips(images), clips(videos))
    assert [batch.labels.tolist() for batch in images] == [batch.labels.tolist() for batch in videos]


def test_images_may_be_numbered_from_0(frame_folders):
    from_1 = read("test", frame_folders / "labelled.list", FRAMES)
    assert same(read("test", frame_folders / "zero/labelled.list", {**FRAMES, "first_frame": 0}), from_1)
    assert not same(read("test", frame_folders / "labelled.list", {**FRAMES, "first_frame": 2}), from_1)


def test_infer_needs_no_labels_of_folders(frame_folders):
    without = read("infer", frame_folders / "unlabelled.list", FRAMES)
    labelled = read("infer", frame_folders / "labelled.list", FRAMES)
    assert np.array_equal(clips(without), clips(labelled))
    assert {label for batch in without for label in batch.labels} == {-1}
    assert [label for batch in labelled for label in batch.labels] == [number % 4 for number in range(VIDEOS)]
    for mode in ("train", "valid", "test"):
        with pytest.raises(InputError, match=r"line 1: 'v0 10' is not `folder num_frames label`"):
            make_reader(mode, frame_folders / "unlabelled.list", FRAMES)


def test_a_missing_image_is_named_with_the_folders_frame_count(frame_folders, tmp_path):
    lines = [f"{frame_folders / 'v0'} 10 0", f"{frame_folders / 'v1'} 30 1", f"{frame_folders / 'v99'} 10 1"]
    filelist = make_list(tmp_path / "frames.list", lines)
    with make_reader("test", filelist, FRAMES, max_bad_videos=0.7) as reader:
        assert ids(list(reader)) == [str(frame_folders / "v0")]
    missing, nowhere = reader.failures
    assert missing.video.line == 2 and re.fullmatch(r"00\d\d\.png: No such file .*gives it 30 frames", missing.reason)
    assert nowhere.video.line == 3 and nowhere.reason == "there is no such folder"


def test_images_of_several_sizes_are_a_bad_video(tmp_path):
    for number, (height, width) in enumerate([(24, 32)] * 3 + [(32, 24)] * 3, 1):
        (tmp_path / f"{number:04d}.png").write_bytes(encode_images(noise(1, height, width))[0])
    with make_reader("infer", make_list(tmp_path / "frames.list", [f"{tmp_path} 6"]), FRAMES) as reader:
        assert list(reader) == []
    assert "change their shape" in reader.failures[0].reason


@pytest.mark.parametrize(
    "template",
    ["%1500000000d", "%.1500000000d", "img.jpg", "", "%%d.jpg", "%d_%d.jpg", "%(number)d.jpg", "%y.jpg", "100%"],
)
def test_a_template_without_a_number_is_refused(frame_folders, template):
    with pytest.raises(InputError, match=r"MODEL\.frame_template = .* needs one %d, as in img_%05d\.jpg"):
        make_reader("test", frame_folders / "labelled.list", {**FRAMES, "frame_template": template})


# --- what is refused before anything is read


@pytest.mark.parametrize("mode", MODES)
def test_a_crop_larger_than_the_scaled_frame_is_refused(folder, mode):
    section = mode.upper()
    with pytest.raises(InputError, match=rf"{section}.target_size = 17 .*{section}.short_size = 16"):
        make_reader(mode, folder / "all.list", target_size=17)


@pytest.mark.parametrize("mode", MODES)
def test_a_missing_list_names_the_modes_key(tmp_path, mode):
    with pytest.raises(InputError, match=f"{mode.upper()}.filelist"):
        make_reader(mode, tmp_path / "no.list")


def test_an_unknown_transform_is_named(folder):
    with pytest.raises(InputError, match="center_crob"):
        open_reader("test", make_config("test", str(folder / "all.list")), "center_crob")


def test_a_video_that_another_process_opens_anew_is_read_on_to_its_end():
    """A task is to stay with a process; where that one has ended, another may find that it can select again."""
    videos = [Video("a", None, 1), Video("b", None, 2)]
    schedule = _Schedule(iter(videos), epoch=0, count=2, videos_ahead=1)
    samples = [Sample("a", -1)] * 2
    first, other = next(schedule), next(schedule)
    schedule.go_on(first, Chunk(samples, None, None, in_order=True))
    starts = []
    for _ in range(2):
        task = next(schedule)
        assert task.stay and schedule.wants(task)
        starts.append(task.args[2])
        schedule.go_on(task, Chunk(samples, 6, None, in_order=False))
    assert starts == [2, 4] and schedule.wants(other)


@dataclass(frozen=True)
class LateView(View):
    """One frame later than the other."""

    def indices(self, num_frames: int, rng: np.random.Generator | None = None) -> list[int]:
        return [(index + 1) % num_frames for index in super().indices(num_frames, rng)]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_views_of_a_video_come_together_and_it_is_read_once(tmp_path, workers):
    """Two moments and two crops; a video that cannot be read has none of its views."""
    for name, count in (("a", 20), ("b", 31)):
        make_video(tmp_path / f"{name}.mp4", noise(count, 40, 48, seed=count))
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    listed = make_list(tmp_path / "test.list", ["a.mp4 0", "bad.mp4 1", "b.mp4 1"])
    config = make_config("test", listed, batch_size=2, num_reader_threads=workers, max_bad_videos=1)
    views = (View(2, 1, 1, EvalTransform(16, 16, False)), LateView(2, 1, 1, EvalTransform(20, 16, False)))
    videos = [Video("a.mp4", 0, 1), Video("bad.mp4", 1, 2), Video("b.mp4", 1, 3)]

    def batches(chosen: tuple[View, ...]) -> list[Batch]:
        read = ClipReader(config.MODEL, config.TEST, chosen, tmp_path, 0)
        with VideoReader("test", config, videos, read, list_path=listed) as reader:
            found = list(reader)
            assert [failure.video.path for failure in reader.failures] == ["bad.mp4"]
            return found

    both, first, second = batches(views), batches(views[:1]), batches(views[1:])
    assert [(batch.ids, batch.labels.tolist(), batch.views) for batch in both] == [
        (["a.mp4", "a.mp4"], [0, 0], 2),
        (["b.mp4", "b.mp4"], [1, 1], 2),
    ]
    for found, one, other in zip(both, first, second):
        assert np.array_equal(found.clips, np.concatenate([one.clips, other.clips]))
        assert not np.array_equal(one.clips, other.clips) and one.views == 1
