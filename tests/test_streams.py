"""Streams that are followed frame by frame: batches of them, and programs with a state."""

from __future__ import annotations

import functools
import importlib.util
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from deployed import settled_network, shape_clips, trained_network
from media import make_video, moving
from test_mobilenet import random_state, small, with_weights
from tiny import values_of

from video_zoo.engine.backends import ENGINES
from video_zoo.engine.backends.base import FRAME as FRAME_INPUT
from video_zoo.engine.backends.base import LOGITS, Job, state_input, state_output
from video_zoo.engine.backends.open_vino import OpenVINO
from video_zoo.engine.backends.paddle_network import PaddleSteps
from video_zoo.engine.deployment import Deployment
from video_zoo.engine.export import stream_samples
from video_zoo.engine.inference import open_backend
from video_zoo.engine.programs import PROGRAMS, load_network, write_program
from video_zoo.engine.streams import Streams, open_streams
from video_zoo.models.torch_weights import to_ours
from video_zoo.models.tsm import TSM
from video_zoo.utils.errors import InputError
from video_zoo.utils.fluid_vars import write_folder

FRAME = (3, 32, 32)
ENGINE_NAMES = ("paddle", "paddle-inference", "onnxruntime", "openvino")


def frames(count: int, seed: int = 0) -> np.ndarray:
    """uint8 (count, *FRAME): each its own colour, with noise."""
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 200, (count, 3, 1, 1)) + rng.integers(0, 56, (count, *FRAME))).astype(np.uint8)


@pytest.fixture(scope="module")
def network():
    return settled_network(shift="uni")


@pytest.fixture(scope="module")
def backend_of(network, tmp_path_factory):
    """Name of an engine, and the most streams at once -> what computes."""
    folder, state = tmp_path_factory.mktemp("programs"), network.state_shapes(*FRAME[1:])

    @functools.cache
    def program(kind: str):
        return write_program(kind, network, FRAME, folder / PROGRAMS[kind].files["fp32"], state)

    def made(name: str, most: int = 3):
        engine = ENGINES.get(name)
        job = Job(None, threads=1, batch_size=most, clip_shape=FRAME, state=state)
        if engine.program is None:
            return load_network(engine, network, folder, job)
        return engine.load(Job(program(engine.program), threads=1, batch_size=most, clip_shape=FRAME, state=state))

    return made


@pytest.fixture(scope="module")
def open_engine(backend_of, network):
    return lambda name, most=3: Streams(backend_of(name, most), network.state_shapes(*FRAME[1:]), FRAME)


def assert_near(found: np.ndarray, logits: np.ndarray) -> None:
    """To 1e-5 of the largest."""
    np.testing.assert_allclose(found, logits, atol=1e-5 * max(np.abs(logits).max(), 1))


def alone(network, given: np.ndarray) -> np.ndarray:
    """The logits of each of a stream's frames (T, classes), by the network on the whole clip."""
    for layer in network.sublayers():
        if hasattr(layer, "seg_num"):
            layer.seg_num = len(given)
    with paddle.no_grad():
        features = network.backbone(network.normalise(paddle.to_tensor(given)))
        logits = network.fc(network.dropout(features)).numpy()
    assert np.ptp(logits, axis=0).max() > 0.5  # frames are told apart
    return logits


@pytest.fixture(scope="module")
def expected(network):
    """A stream's number -> its 6 frames, and the logits of each."""

    def made(seed: int):
        given = frames(6, seed)
        return given, alone(network, given)

    return functools.cache(made)


@pytest.mark.contract
@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize("engine", ENGINE_NAMES)
def test_streams_join_and_leave_without_touching_the_others(engine, most, open_engine, expected):
    streams = open_engine(engine, most)
    # The streams that each step has frames of; where a comes again after two steps, it goes on.
    steps = ["a", "ab", "ba", "b", "bc", "abc", "ca", "a"]
    place, seeds = {}, {"a": 0, "b": 1, "c": 2}
    for number, names in enumerate(steps):
        if number == 6:
            streams.leave("b")
            streams.leave("nobody")
        now = {name: place.get(name, 0) for name in names}
        found = streams.step({name: expected(seeds[name])[0][now[name]] for name in names})
        assert sorted(found) == sorted(names)
        for name in names:
            assert_near(found[name], expected(seeds[name])[1][now[name]])
            place[name] = now[name] + 1
    streams.leave("a")  # and comes again, as a new one
    found = streams.step({"a": expected(0)[0][0]})
    assert_near(found["a"], expected(0)[1][0])
    assert streams.step({}) == {}


def resnet_50() -> TSM:
    paddle.seed(0)
    network = TSM(num_layers=50, base_width=8, num_classes=4, dropout=0.0, shift="uni")
    network.eval()
    return network


def mobilenet() -> TSM:
    return with_weights(small(shift="uni"), to_ours(random_state("mit", width=0.25), shift="uni")[0])


@pytest.mark.contract
@pytest.mark.parametrize("kind", PROGRAMS)
@pytest.mark.parametrize("make", [resnet_50, mobilenet])
def test_other_backbones_are_followed_after_export(make, kind, tmp_path):
    if missing := PROGRAMS[kind].missing():
        pytest.skip(f"needs {missing}")
    network, given = make(), frames(6)
    job = Job(tmp_path / PROGRAMS[kind].files["fp32"], clip_shape=FRAME, state=network.state_shapes(*FRAME[1:]))
    write_program(kind, network, FRAME, job.program, job.state)
    streams = Streams(ENGINES.get(PROGRAMS[kind].engine).load(job), job.state, FRAME)
    for frame, logits in zip(given, alone(network, given)):
        assert_near(streams.step({0: frame})[0], logits)


@pytest.mark.parametrize("fails", ["inside", "on the way in"])
def test_exporting_steps_leaves_the_network_as_it_was(fails, network, monkeypatch):
    before = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    calls, set_value = [], paddle.Tensor.set_value

    def fail(tensor, value):
        calls.append(tensor)
        if len(calls) == 4:  # the weights of the second block's convolution
            raise MemoryError
        return set_value(tensor, value)

    if fails == "on the way in":
        monkeypatch.setattr(paddle.Tensor, "set_value", fail)
    with pytest.raises(MemoryError), network.prepare_for_export(steps=True):
        assert fails == "inside"
        weights = "backbone.res2a.branch2a.conv.weight"
        assert not np.array_equal(network.state_dict()[weights].numpy(), before[weights])
        raise MemoryError
    after = network.state_dict()
    assert before.keys() == after.keys() and all(np.array_equal(before[name], after[name].numpy()) for name in before)
    assert not any(layer._forward_post_hooks for layer in network.sublayers())


def test_a_frame_of_another_size_is_one_message_and_leaves_the_states(open_engine, expected):
    streams, (given, logits) = open_engine("paddle"), expected(0)
    streams.step({"door": given[0]})
    for wrong in (given[0, :, :16], given[0].astype(np.float32)):
        with pytest.raises(InputError, match=r"^stream gate: a frame is .*, and the network follows frames of uint8"):
            streams.step({"door": given[1], "gate": wrong})
    assert_near(streams.step({"door": given[1]})["door"], logits[1])


def test_what_fails_in_the_engine_leaves_the_states(backend_of, network, expected):
    class Fails:
        description = "fails once"

        def step(self, feeds):
            if not hasattr(self, "failed"):
                self.failed = True
                raise MemoryError
            return backend_of("paddle").step(feeds)

    streams = Streams(Fails(), network.state_shapes(*FRAME[1:]), FRAME)
    given, logits = expected(0)
    with pytest.raises(MemoryError):
        streams.step({"a": given[0]})
    for number in (0, 1):
        assert_near(streams.step({"a": given[number]})["a"], logits[number])


def test_threads_take_turns():
    class OneBuffer:
        """Adds up the pixels of a stream; what it gives is overwritten by its next step."""

        description = "adds up"

        def __init__(self):
            self.state, self.logits = np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32)

        def step(self, feeds):
            added = feeds[state_input("sum")] + feeds[FRAME_INPUT].mean()
            self.state[:] = self.logits[:] = np.nan
            time.sleep(0.001)  # here another thread would come
            self.state[:] = self.logits[:] = added
            return {state_output("sum"): self.state, LOGITS: self.logits}

    streams = Streams(OneBuffer(), {"sum": (1,)}, FRAME)

    def follow(stream: int) -> list[float]:
        steps = [streams.step({stream: np.full(FRAME, stream, np.uint8)})[stream] for _ in range(20)]
        streams.leave(stream)
        return [float(logits[0]) for logits in steps]

    with ThreadPoolExecutor(4) as pool:
        found = [*pool.map(follow, (1, 2, 3, 4)), follow(1)]  # which has left, and begins anew
    assert found == [[stream * step for step in range(1, 21)] for stream in (1, 2, 3, 4, 1)]


@pytest.mark.contract
@pytest.mark.parametrize("engine", ["paddle", "paddle-inference"])
def test_a_checkpoint_is_followed(engine, network, expected):
    streams, store = open_streams(lambda: (network, "its weights"), engine, "fp32", False, FRAME, 2)
    given, logits = expected(0)
    assert store == "its weights" and "fp32" in streams.description
    for number in (0, 1):
        assert_near(streams.step({7: given[number]})[7], logits[number])


def test_a_network_that_looks_ahead_is_refused():
    with pytest.raises(InputError, match="that takes a network trained with MODEL.shift = uni"):
        open_streams(lambda: (settled_network(), None), "paddle", "fp32", False, FRAME, 1)


CONFIG = """
MODEL: {name: TSM, num_layers: 18, base_width: 8, num_classes: 4, seg_num: 2, dropout: 0.0, shift: %s}
TRAIN: {filelist: %s/videos.list}
INFER: {short_size: 40, target_size: 32, num_reader_threads: 1}
"""


@pytest.fixture(scope="module")
def export(run_cli, network, tmp_path_factory):
    """Runs export.py --online=True; returns the folder it is to write, and the process."""
    place = tmp_path_factory.mktemp("online")
    video = make_video(place / "a.mp4", moving(70, 48, 64))
    (place / "videos.list").write_text(f"{video} 0\n")
    (place / "weights").mkdir()
    write_folder(place / "weights", values_of(network))

    def run(*flags: str, shift: str = "uni"):
        (place / "config.yaml").write_text(CONFIG % (shift, place))
        common = (f"--config={place}/config.yaml", f"--weights={place}/weights", f"--save_dir={place}/{shift}")
        return place / shift, run_cli("export.py", *common, "--online=True", "--input", str(video), *flags)

    return run


@pytest.fixture(scope="module")
def online(export):
    """The deployment folder."""
    folder, result = export()
    assert result.returncode == 0, result.stdout + result.stderr
    assert "onnxruntime fp32: top-1 100.0% the same of 64 frames" in result.stdout
    return folder


def test_an_online_folder_says_what_its_state_is(online, network):
    said = yaml.safe_load((online / "inference.yaml").read_text(encoding="utf-8"))
    assert said["input"]["name"] == "frame" and said["input"]["shape"] == [-1, *FRAME]
    assert said["output"] == {"name": "logits", "dtype": "float32", "shape": [-1, 4]}
    first = {"input": "state_res2a", "output": "next_res2a", "dtype": "float32", "shape": [-1, 1, 8, 8]}
    assert said["state"]["res2a"] == first and said["state_bytes"] == 4 * (3 * 64 + 2 * 2 * 16 + 2 * 4 * 4 + 64 // 8)
    assert said["parity"]["openvino fp32"]["clips"] == 64 and "sampling" not in said
    assert Deployment.read(online).state == network.state_shapes(*FRAME[1:])


@pytest.mark.parametrize("engine", ENGINE_NAMES[1:])
def test_an_online_folder_is_followed(engine, online, expected):
    streams, store = open_streams(Deployment.read(online), engine, "fp32", False, FRAME, 1)
    given, logits = expected(0)
    for number in range(4):
        assert_near(streams.step({"a": given[number]})["a"], logits[number])
    assert store is None


def renamed(state: dict) -> dict:
    return {"res9a" if name == "res2a" else name: port for name, port in state.items()}


def turned(state: dict) -> dict:
    return dict(reversed(state.items()))


def shorter(state: dict) -> dict:
    return dict(list(state.items())[1:])


def wider(state: dict) -> dict:
    return {**state, "res2a": {**state["res2a"], "shape": [-1, 1, 8, 1_000_000_000_000]}}


@pytest.mark.parametrize("change", [renamed, turned, shorter, wider])
@pytest.mark.parametrize("engine", ENGINE_NAMES[1:])
def test_a_state_that_the_program_has_not_is_one_message(engine, change, online, tmp_path):
    folder = tmp_path / "online"
    shutil.copytree(online, folder)
    said = yaml.safe_load((folder / "inference.yaml").read_text(encoding="utf-8"))
    said["state"] = change(said["state"])
    (folder / "inference.yaml").write_text(yaml.safe_dump(said, sort_keys=False), encoding="utf-8")
    with pytest.raises(InputError, match="keeps another state of a stream than it is said to keep"):
        open_streams(Deployment.read(folder), engine, "fp32", False, FRAME, 1)


@pytest.mark.skipif(not importlib.util.find_spec("nncf"), reason="NNCF is not installed")
def test_int8_is_near(tmp_path):
    network = TSM(num_layers=18, base_width=8, num_classes=4, seg_num=8, shift="uni")
    network.set_state_dict(trained_network().state_dict())
    network.eval()
    (given, _), (calibration, _) = shape_clips(tmp_path, 4, seed=1), shape_clips(tmp_path, 24, seed=2)
    shape, state = given.shape[2:], network.state_shapes(*given.shape[3:])
    job = Job(tmp_path / "openvino_int8.xml", "int8", threads=2, clip_shape=shape, state=state)
    samples = stream_samples(network, list(state), calibration[:, None])
    assert [(name, value.shape[1:]) for name, value in samples[0].items()] == list(job.inputs.items())
    assert all(samples[0][name].any() for name in job.inputs)  # the state of a stream on its way
    source = write_program("openvino", network, shape, tmp_path / "openvino_fp32.xml", state)
    PROGRAMS["openvino"].quantize(source, samples, job.program)
    exact, rounded = (Streams(each, state, shape) for each in (PaddleSteps(network, state), OpenVINO(job)))
    steps = [dict(enumerate(now)) for now in given.swapaxes(0, 1)]  # 4 streams
    logits = np.array([[[*each.step(frames).values()] for frames in steps] for each in (exact, rounded)])
    assert 1e-4 < np.abs(logits[0] - logits[1]).mean() < 0.1 * np.ptp(logits[0])


def test_folders_of_clips_and_of_streams_are_told_apart(online, run_cli, tmp_path):
    deployment = Deployment.read(online)
    with pytest.raises(InputError, match="follows streams frame by frame, and takes no whole clips: infer.py --online"):
        open_backend(deployment, "auto", "fp32", False, 1, (2, *FRAME))
    clips = Deployment(tmp_path, "TSM", ["a"], (2, *FRAME), {})
    with pytest.raises(InputError, match="takes whole clips, and cannot follow .* export.py --online=True makes"):
        open_streams(clips, "auto", "fp32", False, FRAME, 1)
    with pytest.raises(InputError, match=r"takes frames of \[3, 32, 32\], and .* \[3, 64, 64\]"):
        open_streams(deployment, "auto", "fp32", False, (3, 64, 64), 1)
    for command in ("test.py", "infer.py"):
        flags = (f"--weights={online}", f"--save_dir={tmp_path}", f"--filelist={online.parent}/videos.list")
        result = run_cli(command, *flags)
        assert result.returncode == 1 and "takes no whole clips" in result.stderr and "Traceback" not in result.stderr
    root = Path(__file__).resolve().parents[1]
    for tool, target in (("predict.py", "a.mp4"), ("triton.py", str(tmp_path / "models"))):
        result = run_cli(str(root / "deploy" / tool), str(online), target)
        assert result.returncode == 1 and "follow streams frame by frame" in result.stderr
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("flags", "shift", "message"),
    [
        ((), "bi", "cannot follow a stream frame by frame: that takes a network trained with MODEL.shift = uni"),
        (("--fp16=True",), "uni", "--fp16=True is of programs that take clips"),
    ],
)
def test_what_cannot_be_exported_online_is_one_message(flags, shift, message, export):
    _, result = export(*flags, shift=shift)
    assert result.returncode and message in result.stderr and "Traceback" not in result.stderr
