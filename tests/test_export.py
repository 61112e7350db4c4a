"""Programs for inference engines compute what the network computes."""

from __future__ import annotations

import functools
import importlib.util
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
from deployed import SHAPE, clips, expected, program_files, settled_network, shape_clips, trained_network
from tiny import CLASSES, Batch, make_network

from video_zoo.engine import programs as module
from video_zoo.engine.backends import ENGINES
from video_zoo.engine.backends.base import INPUT, OUTPUT, Job
from video_zoo.engine.backends.open_vino import OpenVINO
from video_zoo.engine.backends.paddle_network import PaddleNetwork
from video_zoo.engine.parity import AGREEMENT, Parity, check_programs
from video_zoo.engine.programs import PROGRAMS, load_network, write_program
from video_zoo.models.tsm import TSM
from video_zoo.models.tsn import TSN
from video_zoo.utils.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("paddle", "onnx", "openvino")
NETWORKS = {"bi": (TSM, {}), "uni": (TSM, {"shift": "uni"}), "tsn": (TSN, {})}


@pytest.fixture(scope="module")
def programs_of(tmp_path_factory):
    """Name of a network -> the network, and its programs by kind; they are written once."""

    @functools.cache
    def made(name: str):
        model, options = NETWORKS[name]
        network, folder = settled_network(model, **options), tmp_path_factory.mktemp("programs")
        files = program_files(folder, KINDS)
        assert {kind: write_program(kind, network, SHAPE, files[kind]) for kind in KINDS} == files
        return network, files

    return made


@pytest.fixture(scope="module", params=[pytest.param("bi", marks=pytest.mark.contract), "uni", "tsn"])
def programs(request, programs_of):
    """A network, and its programs by kind."""
    return programs_of(request.param)


@pytest.mark.parametrize("kind", KINDS)
def test_an_engine_computes_what_the_network_computes(programs, kind):
    network, files = programs
    job = Job(files[kind], threads=2, batch_size=3, clip_shape=SHAPE)
    backend = ENGINES.get(PROGRAMS[kind].engine).load(job)
    given = clips(3)
    reference = expected(network, given)
    for part in (slice(0, 1), slice(0, 3), slice(1, 3)):
        found = backend(given[part])
        assert found.dtype == np.float32 and found.shape == (part.stop - part.start, CLASSES)
        assert np.abs(found - reference[part]).max() < 1e-5
    assert "fp32" in backend.description and "2 threads" in backend.description


def test_clips_of_a_batch_do_not_see_each_other(programs):
    """Programs as they are, with several clips at once: the shift stops at a clip's ends."""
    network, files = programs
    program = openvino.Core().compile_model(files["openvino"], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    session = onnxruntime.InferenceSession(str(files["onnx"]), providers=["CPUExecutionProvider"])
    given = clips(4)
    for found in (program(given)[0], session.run(None, {INPUT: given})[0]):
        assert np.abs(found - expected(network, given)).max() < 1e-5


def test_a_signal_is_handled_when_openvinos_programs_are_gone(programs_of):
    """In a process of its own, as the fault ended it with SIGSEGV."""
    job = f"Job(Path({str(programs_of('tsn')[1]['openvino'])!r}), threads=1)"
    program = (
        "import os, signal\nfrom pathlib import Path\n"
        "from video_zoo.engine.backends import ENGINES\nfrom video_zoo.engine.backends.base import Job\n"
        "signal.signal(signal.SIGINT, lambda *_: print('handled', flush=True))\n"
        f"first, second = [ENGINES.get('openvino').load({job}) for _ in range(2)]\n"
        "del first\ndel second\nos.kill(os.getpid(), signal.SIGINT)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_onnx_runtime_computes_sums_in_convolutions(tmp_path, monkeypatch):
    """On a CPU, where it knows the number of clips: no sum is left, and nothing that computes that number. It is so
    where numbers of channels are multiples of eight or sixteen, as the processor has it."""
    network, make = TSM(num_layers=50, num_classes=CLASSES, seg_num=2), onnxruntime.SessionOptions
    program = write_program("onnx", network, SHAPE, tmp_path / "model.onnx")

    def keep_graph() -> onnxruntime.SessionOptions:
        options = make()
        options.optimized_model_filepath = str(tmp_path / "graph.onnx")
        return options

    monkeypatch.setattr(onnxruntime, "SessionOptions", keep_graph)
    ENGINES.get("onnxruntime").load(Job(program, threads=1, clip_shape=SHAPE))
    operators = {node.op_type for node in onnx.load(str(tmp_path / "graph.onnx")).graph.node}
    assert "Conv" in operators and not operators & {"Add", "Expand", "Floor", "Shape"}


def test_programs_name_their_input_and_output(programs):
    _, files = programs
    graph = onnx.load(str(files["onnx"])).graph
    shape = [dim.dim_param or dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]
    assert [graph.input[0].name, graph.output[0].name] == [INPUT, OUTPUT] and shape == ["clips", *SHAPE]
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    model = openvino.Core().read_model(files["openvino"])
    assert model.input(0).names == {INPUT} and model.output(0).names == {OUTPUT}
    assert str(model.input(0).partial_shape) == "[?,2,3,32,32]"


def test_nothing_else_is_left(programs):
    _, files = programs
    ends = [".onnx", ".pdiparams", ".pdmodel", ".bin", ".xml"]
    assert sorted(path.suffix for path in files["onnx"].parent.iterdir()) == sorted(ends)


def test_exporting_leaves_the_network_as_it_was(programs):
    network, _ = programs
    assert not any(getattr(layer, "frames_first", False) for layer in network.sublayers())


@pytest.mark.contract
@pytest.mark.parametrize("name", ENGINES.names())
def test_an_engine_takes_a_network(name, programs_of, tmp_path, monkeypatch):
    engine = ENGINES.get(name)
    if not engine.cpu:
        pytest.skip("it needs a GPU")
    network, files = programs_of("bi")

    def write(given, job, path):
        assert (given, job.clip_shape) == (network, SHAPE)
        for file in files[engine.program].parent.glob(f"{files[engine.program].stem}.*"):
            shutil.copy(file, path.with_suffix(file.suffix))

    if engine.program:
        monkeypatch.setitem(PROGRAMS, engine.program, replace(PROGRAMS[engine.program], write=write))
    backend = load_network(engine, network, tmp_path, Job(threads=2, clip_shape=SHAPE))
    assert np.abs(backend(clips(2)) - expected(network, clips(2))).max() < 1e-5


@pytest.mark.parametrize("engine", ["openvino", "paddle-inference"])
def test_bfloat16_is_near(programs, engine):
    network, files = programs
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(InputError, match="this CPU has no bfloat16"):
            ENGINES.get(engine).load(Job(programs[1][ENGINES.get(engine).program], "bf16", threads=2))
        return
    kind = ENGINES.get(engine).program
    found = ENGINES.get(engine).load(Job(files[kind], "bf16", threads=2))(clips(4))
    difference = np.abs(found - expected(network, clips(4))).max()
    assert 1e-6 < difference < 0.05  # it is bfloat16, and near


def test_float16_is_near(programs, tmp_path):
    network, files = programs
    PROGRAMS["onnx"].halve(files["onnx"], tmp_path / "model_fp16.onnx")
    given = clips(8)
    reference = expected(network, given)
    found = ENGINES.get("onnxruntime").load(Job(tmp_path / "model_fp16.onnx", "fp16", threads=2))(given)
    assert found.dtype == np.float32 and np.array_equal(found.argmax(1), reference.argmax(1))
    assert 1e-6 < np.abs(found - reference).max() < 0.01  # it is float16, and near
    one = ENGINES.get("onnxruntime").load(Job(tmp_path / "model_fp16.onnx", "fp16", threads=2))(given[2:3])
    assert np.abs(one - found[2:3]).max() < 0.01


def test_a_float16_program_has_float32_at_its_ends(programs, tmp_path):
    PROGRAMS["onnx"].halve(programs[1]["onnx"], tmp_path / "model_fp16.onnx")
    model, whole = (onnx.load(str(path)) for path in (tmp_path / "model_fp16.onnx", programs[1]["onnx"]))
    graph, kinds = model.graph, onnx.TensorProto
    assert [each.type.tensor_type.elem_type for each in (*graph.input, *graph.output)] == [kinds.UINT8, kinds.FLOAT]
    assert [graph.input[0].name, graph.output[0].name] == [INPUT, OUTPUT]
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 17)]
    types = {each.name: each.data_type for each in graph.initializer}
    of = {kind: [node.input[1] for node in graph.node if node.op_type == kind] for kind in ("Conv", "Sub", "Gemm")}
    assert len(of["Conv"]) == len([node for node in whole.graph.node if node.op_type == "Conv"]) >= 20
    assert {types[name] for name in of["Conv"]} == {kinds.FLOAT16}
    assert {types[name] for name in of["Sub"] + of["Gemm"] if name in types} == {kinds.FLOAT} and len(of["Gemm"]) == 1
    assert "BatchNormalization" not in {node.op_type for node in graph.node}


@pytest.mark.contract
def test_values_that_overflow_in_float16_are_refused(tmp_path):
    """In float32 the network computes what it computed before: the next layer undoes the factor."""
    network, factor = settled_network(), 2e4
    variables = network.variables()
    for name, change in (("bn2a_branch2a_scale", factor), ("bn2a_branch2a_offset", factor)):
        variables[name].set_value(variables[name] * change)
    variables["res2a_branch2b_weights"].set_value(variables["res2a_branch2b_weights"] / factor)
    files = {each: tmp_path / PROGRAMS["onnx"].files[each] for each in ("fp32", "fp16")}
    PROGRAMS["onnx"].halve(write_program("onnx", network, SHAPE, files["fp32"]), files["fp16"])
    with pytest.raises(InputError, match="onnxruntime in fp16 is too far from the network: .* at most inf.*--fp16 out"):
        check_programs(network, [Batch(clips(4), None, [], 4)], 4, {"onnx": files}, Job(threads=2, clip_shape=SHAPE))


def test_weights_beyond_float16_are_refused(tmp_path):
    weight = onnx.numpy_helper.from_array(np.full((1, 1, 1, 1), 7e4, np.float32), "w")
    ports = [onnx.helper.make_tensor_value_info(name, 1, [1, 1, 2, 2]) for name in ("x", "y")]
    nodes = [onnx.helper.make_node("Conv", ["x", "w"], ["z"]), onnx.helper.make_node("Softmax", ["z"], ["y"])]
    graph = onnx.helper.make_graph(nodes, "large", ports[:1], ports[1:], [weight])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(tmp_path / "model.onnx"))
    with pytest.raises(InputError, match=r"no float16 program: .* \(w\) are up to 7.0e\+04, and float16 ends at 65504"):
        PROGRAMS["onnx"].halve(tmp_path / "model.onnx", tmp_path / "model_fp16.onnx")


@pytest.mark.skipif(not importlib.util.find_spec("nncf"), reason="NNCF is not installed")
def test_int8_of_a_trained_network_is_near(tmp_path):
    """An untrained network is no judge: its logits lie so close together that any rounding exchanges them."""
    network, (given, labels) = trained_network(), shape_clips(tmp_path, 64, seed=1)
    source = write_program("openvino", network, given.shape[1:], tmp_path / "openvino_fp32.xml")
    target = tmp_path / "openvino_int8.xml"
    samples = [{INPUT: clip[None]} for clip in shape_clips(tmp_path, 64, seed=2)[0]]
    PROGRAMS["openvino"].quantize(source, samples, target)
    reference, found = PaddleNetwork(network)(given), OpenVINO(Job(target, "int8", threads=2))(given)
    assert (reference.argmax(1) == labels).mean() > 0.95
    parity = Parity()
    parity.add(reference, found)
    # A network this narrow loses more than a real one: 0.021 in the mean, measured without VNNI.
    assert parity.agreement >= AGREEMENT and 1e-6 < parity.mean < 0.05, parity
    operators = openvino.Core().read_model(target).get_ops()
    weights = [op.data for op in operators if op.get_type_name() == "Constant" and op.get_element_type().size == 1]
    assert weights and max(np.abs(each.astype(int)).max() for each in weights) <= 64  # nothing saturates without VNNI
    kinds = [op.get_type_name() for op in operators]
    assert kinds.count("FakeQuantize") >= 2 * kinds.count("Convolution")  # of inputs, and of weights


def test_a_failing_converter_is_one_message(monkeypatch, tmp_path):
    def run(command, **options):
        return subprocess.CompletedProcess(command, -11, "[Paddle2ONNX] Start\n", "Paddle model convert failed.\n")

    monkeypatch.setattr(module.subprocess, "run", run)
    with pytest.raises(InputError, match=r"paddle2onnx failed \(exit code -11\): Paddle model convert failed"):
        write_program("onnx", settled_network(), SHAPE, tmp_path / "model.onnx")


@pytest.mark.parametrize(("name", "file"), [("openvino", "x.xml"), ("onnxruntime", "x.onnx")])
def test_a_program_that_is_none_is_one_message(name, file, tmp_path):
    """Paddle Inference crashes on it: a deployment folder is checked before (test_deployment.py)."""
    (tmp_path / file).write_bytes(b"no program")
    with pytest.raises(InputError, match=f"annot (read|load) .*{file}"):
        ENGINES.get(name).load(Job(tmp_path / file, threads=1))


def test_a_clip_of_one_segment_is_computed_by_openvino(tmp_path):
    """Its shift clears all that moves; what nothing asked for of the first block's input, OpenVINO did not load."""
    network = make_network(seg_num=1)
    network.eval()
    given, job = clips(3)[:, :1], Job(threads=2, batch_size=3, clip_shape=(1, *SHAPE[1:]))
    backend = load_network(ENGINES.get("openvino"), network, tmp_path, job)
    assert np.allclose(backend(given), PaddleNetwork(network)(given), atol=1e-5)
