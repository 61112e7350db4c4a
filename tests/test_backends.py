"""Which engine computes, and what is said if it cannot."""

from __future__ import annotations

import importlib.util

import pytest

from video_zoo.engine.backends import ENGINES, choose_engine
from video_zoo.engine.backends.base import Job
from video_zoo.utils.errors import InputError


@pytest.fixture
def installed(monkeypatch):
    """Only these packages are installed."""

    def install(*modules: str) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in modules else None)

    return install


@pytest.mark.parametrize(
    ("modules", "on_gpu", "chosen"),
    [
        (("openvino", "onnxruntime"), False, "openvino"),
        (("onnxruntime",), False, "onnxruntime"),
        ((), False, "paddle-inference"),
        (("openvino", "onnxruntime"), True, "paddle-inference"),
    ],
)
def test_auto_takes_the_fastest_that_is_installed(installed, modules, on_gpu, chosen):
    installed(*modules)
    assert choose_engine("auto", "fp32", on_gpu).engine.name == chosen


def test_auto_says_why(installed):
    installed("onnxruntime")
    reason = choose_engine("auto", "fp32", False).reason
    assert reason == "auto: the fastest here on CPUs; openvino: not installed (pip install openvino)"


def test_auto_passes_by_what_has_no_program(installed):
    installed("openvino", "onnxruntime")
    choice = choose_engine("auto", "fp32", False, lambda engine: "no program" if engine.name == "openvino" else None)
    assert choice.engine.name == "onnxruntime" and "openvino: no program" in choice.reason


def test_auto_with_nothing_left_lists_the_reasons(installed):
    installed()
    with pytest.raises(InputError, match="no engine computes int8 on this CPU:\n.*openvino: not installed"):
        choose_engine("auto", "int8", False)


@pytest.mark.parametrize(
    ("name", "precision", "on_gpu", "message"),
    [
        ("onnxruntime", "fp32", False, r"--engine=onnxruntime: not installed \(pip install onnxruntime\)"),
        ("openvin", "fp32", False, "no engine named 'openvin'; did you mean OPENVINO?"),
        ("openvino", "fp32", True, "it does not compute on a GPU here; --use_gpu=False"),
        ("tensorrt", "fp16", False, "it does not compute on a CPU here; --use_gpu=True"),
        ("openvino", "fp16", False, "it has no fp16 on a CPU, only fp32, bf16, int8"),
        ("paddle", "bf16", False, "it has no bf16 on a CPU, only fp32"),
    ],
)
def test_what_cannot_be_used_is_said(installed, name, precision, on_gpu, message):
    installed("openvino")
    with pytest.raises(InputError, match=message):
        choose_engine(name, precision, on_gpu)


def test_a_deployment_folder_is_no_network():
    with pytest.raises(InputError, match="computes from a checkpoint"):
        ENGINES.get("paddle").load(Job())


def test_tensorrt_says_that_paddle_lacks_it():
    """The CPU builds lack it; with a GPU build on a GPU it is not known to work."""
    with pytest.raises(InputError, match="built without TensorRT; --engine=paddle-inference"):
        ENGINES.get("tensorrt").load(Job(on_gpu=True, clip_shape=(2, 3, 32, 32)))
