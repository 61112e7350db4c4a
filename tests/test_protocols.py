"""Test protocols: equal to what the public toolkits' own code gives.

tests/golden/protocols.json.gz was made by running that code: frame numbers from 0, crops [x, y, mirrored], sizes
[w, h]; long lists are digests (the ends of each clip, and a hash of all numbers). Its `meta` names the revisions.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import SECTIONS, encode_images, make_config, make_list, make_pickle, make_video, noise

from video_zoo.configs.protocols import PROTOCOLS
from video_zoo.configs.schema import Config
from video_zoo.datareader import clip_reader, images, open_reader
from video_zoo.datareader.crops import CROPS
from video_zoo.datareader.frame_rules import (
    SAMPLINGS,
    SEGMENTS,
    ClipShape,
    count_half_windows,
    linspace32,
    windows_of_half,
)
from video_zoo.datareader.protocol_flags import describe_views
from video_zoo.datareader.protocols import protocol_of
from video_zoo.datareader.resizes import RESIZES, Size
from video_zoo.datareader.views import views_of
from video_zoo.models import MODELS
from video_zoo.utils import cli, config
from video_zoo.utils.errors import InputError

GOLDEN = json.loads(gzip.decompress((Path(__file__).parent / "golden/protocols.json.gz").read_bytes()))
ROOT = Path(__file__).resolve().parents[1]
REFUSED = "mmaction2_3d_twice"


def shape_of(name: str, title: str) -> ClipShape:
    """`S8`, `8x8_c10` or `8x8` of the golden file."""
    if title.startswith("S"):
        return ClipShape(int(title[1:]), SAMPLINGS.get(name).seglens[-1] if "len3" in name else 1)
    lengths, _, clips = title.partition("_c")
    length, stride = map(int, lengths.split("x"))
    return ClipShape(length, 1, stride, int(clips or 1))


def as_golden(clips: list[list[int]], golden: object) -> object:
    """Clips in the form of a golden value: one clip as it is, several, or a digest."""
    if not isinstance(golden, dict):
        return clips[0] if golden and isinstance(golden[0], int) else clips
    numbers = [number for clip in clips for number in clip]
    sha = hashlib.sha256(",".join(map(str, numbers)).encode()).hexdigest()[:16]
    ends = {"first": [clip[0] for clip in clips], "last": [clip[-1] for clip in clips]}
    return {"clips": golden["clips"] and len(clips), **ends, "n": len(numbers), "sha": sha}


RULES = [(group, name) for group in ("temporal_2d", "temporal_3d", "temporal_uniform") for name in GOLDEN[group]]


@pytest.mark.parametrize(("group", "name"), RULES)
def test_frames_are_those_of_the_public_code(group, name):
    sampling = SAMPLINGS.get(name)
    assert (sampling.kind == SEGMENTS) == (group == "temporal_2d")
    for title, cases in GOLDEN[group][name].items():
        shape = shape_of(name, title)
        for num_frames, golden in cases.items():
            if golden is None:  # the public code divides by zero
                assert sampling.refused or shape.clips < sampling.fewest
            else:
                assert as_golden(sampling.rule(int(num_frames), shape), golden) == golden, (title, num_frames)


def test_every_name_of_a_rule_is_known_to_the_golden_file():
    assert {name.lower() for name in SAMPLINGS.names()} == {name for _, name in RULES}
    assert {name.lower() for name in CROPS.names()} == {"v15", *GOLDEN["crops"]}
    assert {*RESIZES.names()} == {name.upper() for name in GOLDEN["resize"]}


def test_windows_of_a_data_set_are_those_of_torchvision():
    for title, golden in GOLDEN["torchvision_two_videos"].items():
        counts, found, before = json.loads(title.partition("_N")[2]), [], 0
        for count in counts:
            found += windows_of_half(count, ClipShape(16, 1, 1, 5), before)
            before += count_half_windows(count, 16)
        assert found == golden


@pytest.mark.parametrize("place", ["centre", "base"])
def test_the_traps_of_float64_are_kept(place):
    """Lengths of videos for which exact arithmetic gives other frames."""
    clip = {"centre": 0, "base": 1}[place]
    for title, golden in GOLDEN["float64_traps_N_1_1000"][place].items():
        segments, found = int(title[1:]), []
        for num_frames in range(1, 1001):
            exact = [int(Fraction(num_frames * (2 * x + 1 - clip), 2 * segments)) for x in range(segments)]
            if SAMPLINGS.get("tsm_test_twice").rule(num_frames, ClipShape(segments))[clip] != exact:
                found.append(num_frames)
        assert found == golden, title


@settings(max_examples=150, deadline=None)
@given(
    start=st.integers(0, 4000).map(lambda n: n / 7),
    length=st.integers(1, 400).map(lambda n: n / 3),
    count=st.integers(1, 64),
)
def test_linspace32_rounds_each_value_once(start, length, count):
    first, last = np.float32(start), np.float32(start + length)
    step = Fraction(float((last - first) / np.float32(max(count - 1, 1))))
    for x, value in enumerate(linspace32(start, start + length, count)):
        exact = Fraction(float(first)) + x * step
        if count > 1 and x >= count // 2:
            exact = Fraction(float(last)) - (count - 1 - x) * step
        near = (value, np.nextafter(value, np.float32(-1e9)), np.nextafter(value, np.float32(1e9)))
        assert abs(Fraction(float(value)) - exact) == min(abs(Fraction(float(each)) - exact) for each in near)


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from([name for name in SAMPLINGS.names() if name.lower() != REFUSED]),
    num_frames=st.integers(1, 2000),
    length=st.integers(1, 64),
    stride=st.integers(1, 40),
    clips=st.integers(2, 12),
)
def test_rules_give_whole_clips_of_any_video(name, num_frames, length, stride, clips):
    sampling = SAMPLINGS.get(name)
    shape = ClipShape(length, sampling.seglens[-1], stride, clips)
    found = sampling.rule(num_frames, shape)
    assert {len(clip) for clip in found} <= {shape.length}
    assert {type(number) for clip in found for number in clip} <= {int}
    if name.lower() != "torchvision_15of30":  # which has none of short videos
        assert len(found) == (clips if sampling.clips is None else sampling.clips or len(found)) > 0
    may_leave = "tsm_test_flow5 paddle_sampler_frame paddle_slowfast_fps30 vjepa_norandom".upper().split()
    if name not in may_leave:
        assert all(0 <= number < num_frames for clip in found for number in clip)


@pytest.mark.parametrize("name", GOLDEN["crops"])
def test_crops_are_those_of_the_public_code(name):
    for title, cases in GOLDEN["crops"][name].items():
        for size, golden in cases.items():
            places = CROPS.get(name).places(Size(*map(int, size.split("x"))), int(title[1:]))
            assert (places and [[x, y, int(flip)] for x, y, flip in places]) == golden, (title, size)
            assert places is None or len(places) == CROPS.get(name).count


@pytest.mark.parametrize("name", GOLDEN["resize"])
def test_sizes_are_those_of_the_public_code(name):
    for title, cases in GOLDEN["resize"][name].items():
        for size, golden in cases.items():
            assert [*RESIZES.get(name)(Size(*map(int, size.split("x"))), int(title[1:]))] == golden, (title, size)


# Protocols


def load(file: str = "tsm.txt", model: dict | None = None, train: dict | None = None, **keys: object) -> Config:
    """One of our configs, with keys of section TEST as the command line gives them."""
    model_name = file.partition(".")[0].upper()
    flags = {"TEST": keys, "MODEL": model or {}, "TRAIN": train or {}}
    return config.load(str(ROOT / "configs" / file), Config, flags, cli.model_sections(MODELS), model_name)


def test_the_order_of_views_is_the_public_one():
    for keys, order in (
        ({"protocol": "twice3"}, "crop_major"),
        ({"protocol": "slowfast10x3", "stride": 8, "clips": 2}, "clip_major"),
    ):
        assert [list(each) for each in protocol_of(load(**keys)).order()] == GOLDEN["view_order_2clips_3crops"][order]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocols_fit_a_network_that_they_are_for(name):
    """A 2-D one, and one of 16 frames 4 apart."""
    strided = PROTOCOLS[name].sampling != "v15" and SAMPLINGS.get(PROTOCOLS[name].sampling).kind != SEGMENTS
    model = {"seg_num": 1, "seglen": 16, "frame_stride": 4} if strided else {}
    protocol = protocol_of(load(protocol=name, model=model))
    shown = describe_views(load(protocol=name, model=model), 300, Size(340, 256))
    assert len(shown["views"]) == protocol.views == protocol.facts()["views"]
    assert {len(view["frames"]) for view in shown["views"]} == {protocol.frames}
    assert {tuple(view["crop"][2:]) for view in shown["views"]} == {(protocol.target_size,) * 2}


def test_v15_reads_what_it_always_read():
    shown = describe_views(load(), 100, Size(320, 240))
    frames = [5, 17, 29, 41, 53, 65, 77, 89]
    assert shown == {
        "sampling": "v15",
        "views": [{"frames": frames, "resize": [341, 256], "crop": [58, 16, 224, 224], "flip": False}],
    }


def test_dense10x3_reads_what_mit_reads():
    shown = describe_views(load(protocol="dense10x3"), 300, Size(320, 240))
    clips = GOLDEN["temporal_2d"]["tsm_test_dense10"]["S8"]["300"]
    first = [view["frames"][0] for view in shown["views"]]
    assert shown["sampling"] == "tsm_test_dense10" and first == clips["first"] * 3
    assert [view["crop"][:2] for view in shown["views"][::10]] == [[0, 0], [84, 0], [42, 0]]
    assert {(*view["resize"], *view["crop"][2:], view["flip"]) for view in shown["views"]} == {
        (341, 256, 256, 256, False)
    }


@pytest.mark.parametrize(
    ("keys", "replaced"),
    [
        ({}, None),
        ({"protocol": "dense10x3", "sampling": "TSM_test_dense10", "clips": 10, "average": "logits"}, None),
        ({"sampling": "tsm_test_dense10", "crops": "tsm_fullres3", "short_size": 288}, "sampling, crops"),
        ({"protocol": "dense10x3", "target_size": 224, "average": "probabilities"}, "target_size, average"),
        ({"protocol": "slowfast10x3", "stride": 8, "clips": 5}, "clips"),
    ],
)
def test_a_protocol_of_which_keys_replace_parts_says_so(keys, replaced):
    protocol = protocol_of(load(**keys))
    assert protocol.facts()["replaced"] == protocol.replaced == replaced
    assert (f"(its {replaced} replaced)" in protocol.description) == (replaced is not None)


def test_a_protocol_wins_over_sizes_that_were_given_before_it(tmp_path):
    def sizes(settings: Config) -> tuple[int | None, ...]:
        return settings.TEST.short_size, settings.TEST.target_size, settings.TEST.seg_num

    assert sizes(load(protocol="v15")) == (256, 224, None)
    assert sizes(load(protocol="dense10x3")) == (256, 256, None)
    assert sizes(load(protocol="dense10x3", target_size=224)) == (256, 224, None)
    assert sizes(load("tsn.txt", protocol="uniform10")) == (256, 224, 7)
    assert sizes(load("tsn.txt", protocol="mmaction2_tsn10")) == (256, 224, 25)
    file = tmp_path / "own.yaml"
    file.write_text("TEST: {protocol: dense10x3, short_size: 288}")
    sections = cli.model_sections(MODELS)
    own = config.load(str(file), Config, {}, sections, "TSM")
    assert sizes(own) == (288, 256, None)
    assert sizes(config.load(str(file), Config, {"TEST": {"protocol": "v15"}}, sections, "TSM")) == (288, 224, None)
    config.write(file, replace(own, TEST=SECTIONS["test"](protocol="mmaction2_tsn10")), "")
    assert sizes(config.load(str(file), Config, {}, sections, "TSM")) == (256, 224, None)


@pytest.mark.parametrize(
    ("keys", "model", "message"),
    [
        (
            {"sampling": "mmaction2_3d_twice", "stride": 8},
            {},
            "mmaction2_3d_twice is not to be used: half of its clips",
        ),
        ({"protocol": "slowfast10x3"}, {}, "sees one of each of 8 segments"),
        ({"sampling": "mmaction2_3d"}, {"seglen": 4}, "TSM sees 8 segments of 4 frames"),
        ({"protocol": "uniform1"}, {"seglen": 3}, "tsm_test takes 1 frame of a segment, and MODEL.seglen is 3"),
        ({"sampling": "paddle_samplerpkl_len3"}, {}, "takes 3 frames of a segment, and MODEL.seglen is 1"),
        ({"sampling": "tsm_test_flow5"}, {"seglen": 5, "frame_stride": 2}, "takes consecutive frames of a segment"),
        ({"sampling": "vjepa_norandom", "stride": 8}, {}, r"TEST.clips = 1, and .* takes at least 2"),
        ({"sampling": "tsm_test_dense10", "clips": 3}, {}, r"TEST.clips = 3, and .* takes 10"),
        ({"clips": 3}, {}, "the sampling v15 takes one clip"),
        ({"sampling": "pytorchvideo_uniform_fps30", "stride": 8}, {}, "all videos of a test have as many views"),
        ({"sampling": "tsm_tset"}, {}, "no sampling named 'tsm_tset'; did you mean TSM_TEST"),
        ({"crops": "tsm_full"}, {}, "no crop named"),
        ({"resize": "mmaction"}, {}, "no resize named"),
        (
            {"protocol": "mmaction2_twice3", "target_size": 224},
            {},
            "TEST.short_size = 256 is not TEST.target_size = 224",
        ),
    ],
)
def test_a_protocol_that_does_not_fit_is_one_message(keys, model, message):
    with pytest.raises(InputError, match=message):
        protocol_of(load(model=model, **keys))


@pytest.mark.parametrize(
    ("train", "key"), [({"flip": False}, "TRAIN.flip = False"), ({"flip_labels": [[86, 87]]}, "TRAIN.flip_labels")]
)
def test_mirrors_are_refused_where_classes_tell_left_from_right(train, key):
    with pytest.raises(InputError, match=f"tsm_over10 mirror half of the views, and {key} says"):
        protocol_of(load(protocol="uniform10", train=train))
    assert protocol_of(load(protocol="dense10x3", train=train)).views == 30


@pytest.mark.parametrize(
    ("keys", "size", "num_frames", "message"),
    [
        ({"sampling": "paddle_sampler_frame"}, (340, 256), 5, "it has 5 frames, too few .* asks for frame number 5"),
        ({"sampling": "tsm_test_flow5"}, (340, 256), 2, "it has 2 frames, too few .* asks for frame number -1"),
        ({"sampling": "paddle_slowfast_fps30", "stride": 8}, (340, 256), 63, "asks for frame number 63"),
        ({"sampling": "torchvision_15of30", "stride": 1, "clips": 5}, (340, 256), 13, "takes 0 clips of 8, and 5 are"),
        ({"protocol": "dense10x3", "target_size": 300}, (340, 256), 99, "TEST.target_size = 300 does not fit"),
    ],
)
def test_a_video_that_a_protocol_does_not_fit_is_one_message(keys, size, num_frames, message):
    with pytest.raises(InputError, match=message):
        describe_views(load(**keys), num_frames, Size(*size))


# Reading


FRAMES = 26
WAYS = {
    "dense10x3": {"protocol": "dense10x3", "short_size": 16, "target_size": 16},  # scaled, to exact and other fractions
    "uniform10": {"protocol": "uniform10", "short_size": 20, "target_size": 16},  # mirrors
    "mmaction2_3d": {"protocol": "mmaction2_10x3", "short_size": 24, "target_size": 24, "stride": 5},  # not scaled
    "fast_crop": {"protocol": "twice3", "short_size": 20, "target_size": 16, "fast_crop": True},
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder, frames = tmp_path_factory.mktemp("videos"), noise(FRAMES, 24, 36)
    make_video(folder / "a.mp4", frames)
    make_pickle(folder / "a.pkl", frames, 1)
    (folder / "a").mkdir()
    for number, data in enumerate(encode_images(frames, ".jpg"), 1):
        (folder / f"a/img_{number:05d}.jpg").write_bytes(data)
    lines = {"mp4": "a.mp4 1", "pkl": "a.pkl", "frames": f"a {FRAMES} 1"}
    for form, line in lines.items():
        make_list(folder / f"{form}.list", [line])
    return folder


@pytest.mark.parametrize("form", ["mp4", "pkl", "frames"])
@pytest.mark.parametrize("way", WAYS)
def test_the_views_of_a_video_equal_single_views_and_each_frame_is_decoded_once(videos, form, way, monkeypatch):
    settings = make_config("test", str(videos / f"{form}.list"), {"format": form}, num_reader_threads=0, **WAYS[way])
    views, opened, decoded = views_of(settings, "test", "center_crop"), [], []
    whole, image = clip_reader.decode_video, images._decode_image

    def decode_video(path, choose, keep, decoder):
        opened.append(path)
        return whole(path, choose, lambda frame: decoded.append(1) or keep(frame), decoder)

    monkeypatch.setattr(clip_reader, "decode_video", decode_video)
    monkeypatch.setattr(images, "_decode_image", lambda *parts: decoded.append(1) or image(*parts))
    with open_reader("test", settings) as reader:
        (batch,) = reader
    assert batch.views == len(views) == len(batch.clips) and len(set(batch.ids)) == 1
    assert len(opened) == (form == "mp4")
    assert len(decoded) == len({number for view in views for number in view.indices(FRAMES)})
    for view, clip in zip(views, batch.clips):
        monkeypatch.setattr("video_zoo.datareader.views_of", lambda *_, view=view: (view,))
        with open_reader("test", settings) as reader:
            (single,) = reader
        assert np.array_equal(single.clips[0], clip)
    assert len({clip.tobytes() for clip in batch.clips}) > 2


@pytest.mark.parametrize(("batch_size", "videos_a_batch"), [(1, [1, 1, 1]), (12, [2, 1]), (17, [2, 1]), (18, [3])])
def test_a_batch_has_whole_videos_and_no_more_clips_than_it_may(tmp_path, batch_size, videos_a_batch):
    for name in "abc":
        make_video(tmp_path / f"{name}.mp4", noise(9, 24, 36))
    listed = make_list(tmp_path / "test.list", [f"{name}.mp4 0" for name in "abc"])
    keys = {"protocol": "twice3", "short_size": 16, "target_size": 16, "num_reader_threads": 0}
    with open_reader("test", make_config("test", listed, batch_size=batch_size, **keys)) as reader:
        batches = list(reader)
        assert reader.batches == len(batches)
    assert [len(batch.ids) for batch in batches] == [6 * count for count in videos_a_batch]
    assert [batch.global_batch_size for batch in batches] == videos_a_batch


def test_views_that_do_not_fit_into_memory_are_one_message(tmp_path):
    (tmp_path / "test.list").write_text("a.mp4 0\n")
    (tmp_path / "a.mp4").touch()
    keys = {"protocol": "mmaction2_dense100", "short_size": 16_384, "target_size": 16_384, "seg_num": 64}
    with pytest.raises(InputError, match=r"200 clips of 64 frames .* A protocol of fewer views, or a smaller seg_num"):
        open_reader("test", make_config("test", str(tmp_path / "test.list"), num_reader_threads=0, **keys))


def test_frames_that_are_not_there_fail_the_video(tmp_path):
    make_video(tmp_path / "a.mp4", noise(3, 24, 36))
    make_video(tmp_path / "b.mp4", noise(30, 24, 36))
    listed = make_list(tmp_path / "test.list", ["a.mp4 0", "b.mp4 1"])
    keys = {"sampling": "paddle_sampler_frame", "seg_num": 4, "short_size": 16, "target_size": 16, "max_bad_videos": 1}
    with open_reader("test", make_config("test", listed, num_reader_threads=0, **keys)) as reader:
        assert [batch.ids for batch in reader] == [["b.mp4"]]
        assert [failure.reason for failure in reader.failures] == [
            "it has 3 frames, too few for paddle_sampler_frame, which asks for frame number 3"
        ]


# The command line


def test_show_views_prints_one_json_object_and_nothing_else(run_cli):
    result = run_cli("test.py", "--protocol=twice3", "--show_views=100,320,240", "--set", "MODEL.seg_num=16")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == describe_views(
        load(protocol="twice3", model={"seg_num": 16}), 100, Size(320, 240)
    )
    assert result.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--show_views=100,320",), "'100,320' is not FRAMES,WIDTH,HEIGHT"),
        (("--show_views=9,9,9", "--protocol=slowfast10x3"), "sees one of each of 8 segments"),
    ],
)
def test_bad_flags_are_one_message(run_cli, flags, message):
    result = run_cli("test.py", *flags)
    assert result.returncode and not result.stdout
    assert message in result.stderr.splitlines()[-1] and "Traceback" not in result.stderr


def test_an_evaluation_says_where_the_public_code_draws_at_random(run_cli):
    keys = ("TEST.sampling=vjepa_norandom", "TEST.stride=4", "TEST.clips=2", "TEST.filelist=no.list")
    result = run_cli("test.py", *(word for key in keys for word in ("--set", key)))
    assert "(its sampling replaced)" in result.stdout and "the public code draws the place of a clip" in result.stdout
    assert result.returncode == 1 and "no list no.list" in result.stderr


def test_the_list_says_views_cost_and_scores(run_cli):
    small = ("--set", "MODEL.num_layers=18", "--set", "MODEL.base_width=8", "--set", "MODEL.seg_num=2")
    result = run_cli("test.py", "--list_protocols", *small)
    assert result.returncode == 0, result.stderr
    blocks = {block.partition("\n")[0]: block for block in result.stdout.strip().split("\n\n")}
    assert list(blocks) == list(PROTOCOLS)
    dense = blocks["dense10x3"]
    assert "30 views a video, mean of logits" in dense and " a clip of 2 x 256 px" in dense and "74.1" in dense
    assert "does not fit" in blocks["slowfast10x3"] and "77.0" in blocks["slowfast10x3"]
