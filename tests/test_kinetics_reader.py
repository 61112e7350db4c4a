"""Lists of videos into batches: every video counted, in the right order, with the right frames."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from media import decode_all, levels, logged, make_config, make_list, make_pickle, make_video, noise

from datareader import get_reader
from datareader.kinetics_reader import Batch, KineticsReader, TooManyBadVideos
from datareader.sampling import segment_indices
from datareader.transforms import EvalTransform
from utils.errors import InputError

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


def make_reader(mode: str, filelist: Path | str, model: dict | None = None, **keys: object) -> KineticsReader:
    return get_reader("TSM", mode, make_config(mode, str(filelist), model, **keys))


def read(mode: str, filelist: Path | str, model: dict | None = None, **keys: object) -> list[Batch]:
    with make_reader(mode, filelist, model, **keys) as reader:
        return list(reader)


def ids(batches: list[Batch]) -> list[str]:
    return [name for batch in batches for name in batch.ids]


def clips(batches: list[Batch]) -> np.ndarray:
    return np.concatenate([batch.clips for batch in batches])


def mixed_list(folder: Path, tmp_path: Path, files: str) -> str:
    """A list of v0, v1 ... where `files` has a dot, and of the bad video where it has an x."""
    names = [f"v{number % VIDEOS}.mp4" if mark == "." else "bad.mp4" for number, mark in enumerate(files)]
    return make_list(tmp_path / "mixed.list", [f"{folder / name} {n % 4}" for n, name in enumerate(names)])


# --- every video, once, in the right order


@pytest.mark.parametrize("mode", ["valid", "test", "infer"])
def test_batches_follow_the_list_and_the_last_one_is_partial(folder, mode):
    batches = read(mode, folder / "all.list", batch_size=3)
    assert [len(batch.ids) for batch in batches] == [3, 3, 1]
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
    def one_clip_an_epoch(reader: KineticsReader) -> dict[str, bytes]:
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
    for workers in (0, 2):
        with make_reader(mode, filelist, num_reader_threads=workers, batch_size=4, max_bad_videos=0.5) as reader:
            results.append([list(reader), reader.failures, list(reader)])
    (alone, failures, alone_again), (shared, shared_failures, shared_again) = results
    for ours, theirs in ((alone, shared), (alone_again, shared_again)):
        assert ids(ours) == ids(theirs)
        assert np.array_equal(clips(ours), clips(theirs))
        assert [batch.labels.tolist() for batch in ours] == [batch.labels.tolist() for batch in theirs]
    assert failures == shared_failures and len(failures) == 1


def test_a_reader_can_be_left_in_the_middle_and_begun_again(folder):
    with make_reader("valid", folder / "all.list", num_reader_threads=1) as reader:
        assert next(iter(reader)).ids == ["v0.mp4", "v1.mp4"]
        assert ids(list(reader)) == [f"v{number}.mp4" for number in range(VIDEOS)]


# --- what is in a batch


@pytest.mark.contract
@pytest.mark.parametrize("mode", ["valid", "test", "infer"])
def test_the_frames_are_v15s(folder, mode):
    batches = read(mode, folder / "all.list", {"seg_num": 4}, short_size=18, target_size=16)
    for number, clip in enumerate(clips(batches)):
        frames = decode_all(folder / f"v{number}.mp4")[segment_indices(10 + number, 4)]
        assert np.array_equal(clip, EvalTransform(18, 16, keep_aspect=False)(frames))


def test_keep_aspect_is_heard(folder):
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
def test_seglen_stacks_consecutive_frames_as_channels(folder, mode):
    """Pickles of grey frames that count up: the levels are the frames' numbers."""
    batches = read(mode, folder / "pkl.list", {"seglen": 3, "seg_num": 3, **PKL})
    assert clips(batches).shape == (VIDEOS, 3, 9, 16, 16)
    for name, clip in zip(ids(batches), clips(batches)):
        number = int(name[1])
        assert (clip == clip[:, :, :1, :1]).all()
        frames = clip[:, ::3, 0, 0].astype(int) - 20 * number  # (segments, 3): of R, G, B, the R
        assert (clip[:, :, 0, 0].reshape(3, 3, 3) == clip[:, ::3, 0, 0][:, :, None]).all()
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
    with pytest.raises(InputError, match=rf"a\.pkl: its label {label} .* 4 classes .*num_classes"):
        read(mode, filelist, PKL)
    assert ids(read("infer", filelist, PKL)) == ["a"]


def test_tsm_crops_at_several_sizes_and_tsn_at_one(tmp_path):
    """A ramp of 64 px cut to 60: TSM's resized crops are steeper."""
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None], (4, 64, 64, 3)).copy()
    make_pickle(tmp_path / "ramp.pkl", ramp, 0)
    filelist = make_list(tmp_path / "pkl.list", ["ramp.pkl"] * 40)
    slopes = {}
    for name in ("TSM", "TSN"):
        config = make_config("train", filelist, PKL, short_size=64, target_size=60, flip=False)
        with get_reader(name, "train", config) as reader:
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


# --- bad videos


def test_a_bad_video_is_named_and_its_place_taken_by_the_next(folder, tmp_path):
    filelist = mixed_list(folder, tmp_path, ".x...")
    with logged() as lines, make_reader("test", filelist, max_bad_videos=0.5) as reader:
        batches = list(reader)
        reader.report_failures()
        reader.check_failures()
    assert [[Path(name).stem for name in batch.ids] for batch in batches] == [["v0", "v2"], ["v3", "v4"]]
    assert [batch.labels.tolist() for batch in batches] == [[0, 2], [3, 0]]
    assert len(reader) == 5
    ((video, reason),) = reader.failures
    assert video.path == str(folder / "bad.mp4") and video.line == 2 and "no video" in reason
    named = re.compile(r"bad\.mp4 \(line 2\): it is no video")
    assert [bool(named.search(line)) for line in lines] == [True, False, True]
    assert "1 of 5 videos could not be read" in lines[1]


def test_failures_are_of_the_last_pass(folder, tmp_path):
    with make_reader("train", mixed_list(folder, tmp_path, ".x."), max_bad_videos=0.5) as reader:
        for _ in range(2):
            assert len(ids(list(reader))) == 2
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


@pytest.mark.parametrize("mode", ["train", "valid", "test"])
def test_as_many_bad_videos_as_are_allowed_do_not_stop_it(folder, tmp_path, mode):
    filelist = mixed_list(folder, tmp_path, "x...x...")
    with pytest.raises(TooManyBadVideos):
        read(mode, filelist, max_bad_videos=0.24)
    with make_reader(mode, filelist, max_bad_videos=0.25) as reader:
        assert len(ids(list(reader))) == 6
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


def test_an_unknown_model_has_no_reader(folder):
    with pytest.raises(InputError, match="TSMM"):
        get_reader("TSMM", "test", make_config("test", str(folder / "all.list")))
