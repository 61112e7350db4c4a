"""Streams that are followed frame by frame: batches of them, and programs with a state."""

from __future__ import annotations

import functools

import numpy as np
import paddle
import pytest
from deployed import settled_network

from video_zoo.engine.backends import ENGINES
from video_zoo.engine.backends.base import Job
from video_zoo.engine.programs import PROGRAMS, load_network, write_program
from video_zoo.engine.streams import Streams, open_streams
from video_zoo.utils.errors import InputError

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
    """To 1e-5 of the largest, some 5."""
    np.testing.assert_allclose(found, logits, atol=5e-5)


def alone(network, given: np.ndarray) -> np.ndarray:
    """The logits of each of a stream's frames (T, classes), by the network on the whole clip."""
    features = network.backbone(network.normalise(paddle.to_tensor(given)))
    return network.fc(network.dropout(features)).numpy()


@pytest.fixture(scope="module")
def expected(network):
    """A stream's number -> its 6 frames, and the logits of each."""

    def made(seed: int):
        given = frames(6, seed)
        for layer in network.sublayers():
            if hasattr(layer, "seg_num"):
                layer.seg_num = len(given)
        with paddle.no_grad():
            logits = alone(network, given)
        assert np.ptp(logits, axis=0).max() > 0.5  # frames are told apart
        return given, logits

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
