"""Which engine computes, and what is said if it cannot."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import paddle
import pytest
from onnx import TensorProto, helper

from video_zoo.engine import inference
from video_zoo.engine.backends import ENGINES, choose_engine, open_vino
from video_zoo.engine.backends.base import Job
from video_zoo.engine.deployment import Deployment
from video_zoo.engine.inference import open_backend
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
        ("openvino", "tf32", False, "it has no tf32 on a CPU, only fp32, bf16, int8"),
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


def test_bfloat16_is_not_float32_under_its_name(monkeypatch):
    """Paddle Inference says in C++'s log that the CPU has none, and computes in float32."""
    monkeypatch.setattr(paddle.base.core, "supports_bfloat16", lambda: False)
    with pytest.raises(InputError, match="^--precision=bf16: this CPU has no bfloat16 arithmetic"):
        ENGINES.get("paddle-inference").load(Job(Path("model.pdmodel"), "bf16"))


@pytest.mark.parametrize(
    ("has_bf16", "checked", "hint"), [(True, True, "bf16"), (True, False, "f32"), (False, True, "f32")]
)
def test_an_int8_program_computes_its_rest_as_where_it_was_checked(monkeypatch, has_bf16, checked, hint):
    core = mock.Mock()
    core.get_property.return_value = ["FP32", *(["BF16"] if has_bf16 else [])]
    core.read_model.return_value.inputs = []
    monkeypatch.setattr(open_vino, "core", lambda: core)
    ENGINES.get("openvino").load(Job(Path("int8.xml"), "int8", rest_bf16=checked))
    assert core.compile_model.call_args.args[2]["INFERENCE_PRECISION_HINT"] == hint


def fake_onnxruntime(monkeypatch, *providers: str) -> mock.Mock:
    """An ONNX Runtime that has these providers, and runs nothing."""
    module = mock.Mock(__version__="1", __spec__="found")
    module.get_available_providers.return_value = [*providers, "CPUExecutionProvider"]
    module.InferenceSession = mock.Mock(
        side_effect=lambda *_, providers: mock.Mock(get_providers=lambda: [name for name, _ in providers])
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", module)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return module


@pytest.mark.parametrize(("precision", "tf32"), [("fp32", "0"), ("tf32", "1"), ("fp16", "0")])
def test_tf32_is_taken_only_where_it_is_asked_for(monkeypatch, precision, tf32):
    module = fake_onnxruntime(monkeypatch, "CUDAExecutionProvider")
    backend = ENGINES.get("onnxruntime").load(Job(Path("model.onnx"), precision, on_gpu=True))
    assert module.InferenceSession.call_args.kwargs["providers"] == [("CUDAExecutionProvider", {"use_tf32": tf32})]
    assert backend.description == f"ONNX Runtime 1, {precision}, on the GPU"


@pytest.fixture
def folder(tmp_path) -> Deployment:
    """A deployment folder whose programs nothing can run."""
    files = {"onnx": {"fp32": "model.onnx", "fp16": "model_fp16.onnx"}, "paddle": {"fp32": "model.pdmodel"}}
    for name in ("model.onnx", "model_fp16.onnx", "model.pdmodel"):
        (tmp_path / name).write_text("a program")
    Deployment(tmp_path, "TSM", ["a", "b"], (2, 3, 32, 32), files).write()
    return Deployment.read(tmp_path)


@pytest.fixture
def start_paddle(monkeypatch) -> mock.Mock:
    """Is called in place of Paddle's start, on a machine with an NVIDIA driver whose GPU Paddle cannot use."""
    monkeypatch.setattr(inference, "has_nvidia_driver", lambda: True)
    starts = mock.Mock(side_effect=InputError("Paddle has no kernels for this GPU"))
    monkeypatch.setattr(inference, "_start_paddle", starts)
    return starts


@pytest.mark.parametrize("engine", ["auto", "onnxruntime"])
@pytest.mark.parametrize(
    ("precision", "file"), [("fp32", "model.onnx"), ("tf32", "model.onnx"), ("fp16", "model_fp16.onnx")]
)
def test_a_gpu_computes_without_paddle(monkeypatch, folder, start_paddle, engine, precision, file):
    module = fake_onnxruntime(monkeypatch, "CUDAExecutionProvider")
    backend, _ = open_backend(folder, engine, precision, None, 1, folder.shape)
    assert backend.description == f"ONNX Runtime 1, {precision}, on the GPU" and not start_paddle.called
    assert module.InferenceSession.call_args.args[0] == str(folder.folder / file)


def test_without_cuda_in_onnx_runtime_paddle_has_the_gpu(monkeypatch, folder, start_paddle, log):
    fake_onnxruntime(monkeypatch)
    with pytest.raises(InputError, match="Paddle has no kernels"):
        open_backend(folder, "auto", "fp16", None, 1, folder.shape)
    assert "onnxruntime: this ONNX Runtime has no CUDA: pip install" in log.text
    with pytest.raises(InputError, match="^--engine=onnxruntime: this ONNX Runtime has no CUDA: pip install"):
        open_backend(folder, "onnxruntime", "fp16", None, 1, folder.shape)
    backend, _ = open_backend(folder, "onnxruntime", "fp32", None, 1, folder.shape)  # as there is a CPU
    assert "on the CPU" in backend.description


def test_a_gpu_that_nobody_insisted_on_is_left_out_where_cuda_cannot_be_loaded(monkeypatch, folder, start_paddle, log):
    module = fake_onnxruntime(monkeypatch, "CUDAExecutionProvider")
    module.InferenceSession.side_effect = lambda *_, providers: mock.Mock(
        get_providers=lambda: ["CPUExecutionProvider"]
    )
    backend, _ = open_backend(folder, "onnxruntime", "fp32", None, 1, folder.shape)
    assert "on the CPU" in backend.description
    assert "it cannot load CUDA's libraries" in log.text and "Nobody has insisted on the GPU" in log.text
    with pytest.raises(InputError, match="it cannot load CUDA's libraries"):
        open_backend(folder, "onnxruntime", "fp32", True, 1, folder.shape)
    with pytest.raises(InputError, match="it has no tf32 on a CPU"):
        open_backend(folder, "onnxruntime", "tf32", None, 1, folder.shape)


def test_hidden_gpus_are_not_used(monkeypatch, folder, start_paddle):
    fake_onnxruntime(monkeypatch, "CUDAExecutionProvider")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert ENGINES.get("onnxruntime").obstacle("fp32", True) == "CUDA_VISIBLE_DEVICES hides the GPUs"


def test_a_folder_without_float16_says_what_makes_it(monkeypatch, folder, start_paddle):
    fake_onnxruntime(monkeypatch, "CUDAExecutionProvider")
    del folder.programs["onnx"]["fp16"]
    with pytest.raises(InputError, match=r"has no fp16 program for it; export\.py --fp16=True writes one"):
        open_backend(folder, "onnxruntime", "fp16", None, 1, folder.shape)


def test_a_program_that_writes_a_file_is_not_loaded(tmp_path):
    """Whoever makes a deployment folder makes its checksums, too."""
    from paddle.base import core

    write_sum_paddle(tmp_path / "sums.pdmodel")
    program = core.ProgramDesc((tmp_path / "sums.pdmodel").read_bytes())
    within = program.append_block(program.block(0))
    for block, kind in ((program.block(0), "save"), (within, "py_func")):
        operator = block.append_op()
        operator.set_type(kind)
        if kind == "save":
            operator.set_input("X", ["two"])
            operator._set_attr("file_path", str(tmp_path / "written"))
    (tmp_path / "sums.pdmodel").write_bytes(program.serialize_to_string())
    with pytest.raises(InputError, match=r"sums\.pdmodel is refused: it holds operators .*: 'py_func', 'save'$"):
        ENGINES.get("paddle-inference").load(Job(tmp_path / "sums.pdmodel", threads=1))
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("content", [b"no program", b""])
def test_what_is_no_program_of_paddle_is_one_message(tmp_path, content):
    (tmp_path / "x.pdmodel").write_bytes(content)
    with pytest.raises(InputError, match="Paddle Inference cannot load .*x.pdmodel"):
        ENGINES.get("paddle-inference").load(Job(tmp_path / "x.pdmodel", threads=1))


@pytest.mark.parametrize("place", ["../outside", "link"])
def test_weights_outside_of_the_folder_are_not_read(tmp_path, place):
    """An ONNX program may name files; ONNX Runtime refuses those that lie elsewhere."""
    (tmp_path / "in").mkdir()
    (tmp_path / "outside").write_bytes(bytes(8))
    (tmp_path / "in/link").symlink_to(tmp_path / "outside")
    weight = TensorProto(name="w", data_type=1, dims=[2], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=place)
    ports = [[helper.make_tensor_value_info(name, 1, [2])] for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "sums", *ports, [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "in/model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="ONNX Runtime cannot load .*escapes"):
        ENGINES.get("onnxruntime").load(Job(tmp_path / "in/model.onnx", threads=1))


def test_engines_describe_themselves_without_their_packages(run_cli):
    code = (
        "import sys\n"
        "from video_zoo.engine import deployment, export, inference, parity, predict, programs\n"
        "from video_zoo.engine.backends import ENGINES\n"
        "print(*ENGINES.names(), *{'paddle', 'openvino', 'onnxruntime', 'onnx', 'nncf'} & sys.modules.keys())\n"
    )
    said = run_cli("-c", code).stdout.split()
    assert said == ["ONNXRUNTIME", "OPENVINO", "PADDLE", "PADDLE-INFERENCE", "TENSORRT"]


def write_sum_onnx(path: Path) -> None:
    ports = [helper.make_tensor_value_info(name, 1, ["n", 2]) for name in ("frame", "state_x", "logits", "next_x")]
    sums = (["frame", "state_x"], ["logits"]), (["logits", "logits"], ["next_x"])
    nodes = [helper.make_node("Add", *each) for each in sums]
    graph = helper.make_graph(nodes, "sums", ports[:2], ports[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())


def write_sum_paddle(path: Path) -> None:
    class Sums(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.two = self.create_parameter([1], default_initializer=paddle.nn.initializer.Constant(2))

        def forward(self, frame, state):
            return frame + state, self.two * (frame + state)

    spec = [paddle.static.InputSpec([None, 2], "float32", name) for name in ("frame", "state_x")]
    program = paddle.jit.to_static(Sums(), input_spec=spec, full_graph=True)
    old_form = getattr(getattr(paddle, "pir_utils", None), "OldIrGuard", contextlib.nullcontext)
    with old_form():
        paddle.jit.save(program, str(path.with_suffix("")))


@pytest.mark.contract
@pytest.mark.parametrize(
    ("name", "file", "write"),
    [
        ("onnxruntime", "sums.onnx", write_sum_onnx),
        ("openvino", "sums.onnx", write_sum_onnx),
        ("paddle-inference", "sums.pdmodel", write_sum_paddle),
    ],
)
def test_a_state_goes_in_and_comes_out(name, file, write, tmp_path):
    write(tmp_path / file)
    backend = ENGINES.get(name).load(Job(tmp_path / file, threads=1, clip_shape=(2,), state={"x": (2,)}))
    state = np.zeros((3, 2), np.float32)
    for step in range(3):
        frame = np.arange(6, dtype=np.float32).reshape(3, 2) + step
        found = backend.run({"frame": frame, "state_x": state})
        np.testing.assert_array_equal(found["logits"], frame + state)
        np.testing.assert_array_equal(found["next_x"], 2 * (frame + state))
        state = found["next_x"]
