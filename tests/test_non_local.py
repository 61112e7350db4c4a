"""Non-local blocks: against MIT's TSM with them, fresh ones, and how they get into a network, a file and a program."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from peer_recipe import clip_batch, golden, state_of, with_weights
from test_torch_weights import CLASSES, FRAMES, logits_of, make_clips, refused, same

from video_zoo.configs.schema import Config, TrainSection
from video_zoo.engine.backends import ENGINES
from video_zoo.engine.backends.base import Job
from video_zoo.engine.backends.paddle_network import PaddleNetwork
from video_zoo.engine.programs import PROGRAMS, write_program
from video_zoo.models import MODELS, build_network
from video_zoo.models.non_local import FramesNonLocal, NonLocal
from video_zoo.models.start_weights import load_start_weights
from video_zoo.models.torch_weights import from_ours, to_ours
from video_zoo.models.tsm import TSM
from video_zoo.models.weight_layouts import Network
from video_zoo.utils.errors import InputError
from video_zoo.utils.fluid_vars import write_folder


def recipe(depth: int, width: int, classes: int) -> dict[str, np.ndarray]:
    """MIT's weights by the golden file's recipe."""
    return state_of("tsm_r50_nl", "mit", Network("TSM", depth, classes, width, non_local=True))


def small(**options) -> TSM:
    return TSM(num_layers=18, base_width=8, num_classes=CLASSES, seg_num=FRAMES, **options)


def small_with_weights(**options) -> TSM:
    return with_weights(small(non_local=True, **options), to_ours(recipe(18, 8, CLASSES))[0])


@pytest.mark.contract
def test_logits_are_mits():
    """Of the golden file's first clip, and of its second one played backwards."""
    state = recipe(50, 64, 400)
    variables, layout, found = to_ours(state)
    assert layout == "mit" and str(found) == "TSM-50 with non-local blocks, shift bi, 400 classes"
    network, of_file = with_weights(TSM(non_local=True), variables), golden("tsm_r50_nl")
    clips = clip_batch(2, 8, 224, 1701)
    assert sum(parameter.size for parameter in network.parameters() if not parameter.stop_gradient) == 31_686_096
    with paddle.no_grad():
        logits = network.classify(paddle.to_tensor(np.stack([clips[0], clips[1, ::-1]]))).numpy()
    expected = np.stack([of_file["a_logits"][0], of_file["a_logits_reversed"][1]])
    np.testing.assert_allclose(logits, expected, atol=5e-4, rtol=1e-4)
    back = from_ours(variables, "mit", "TSM")[0]
    assert same({name[len("module.") :]: value for name, value in back.items()}, state)


def test_a_fresh_block_changes_nothing_and_learns():
    """The scale first, and then what is below it."""
    block = NonLocal(8)
    x = paddle.to_tensor(np.random.default_rng(0).normal(size=(2, 8, 3, 4, 6)).astype("float32"))
    assert np.array_equal(block(x).numpy(), x.numpy())
    block.bn.weight.set_value(np.ones(8, "float32"))
    block(x).square().sum().backward()
    for name, parameter in block.named_parameters():
        if not parameter.stop_gradient and name != "phi.bias":  # the softmax takes no notice of what all keys share
            assert np.abs(parameter.grad.numpy()).max() > (1e-12 if name == "W.bias" else 1e-6), name


def test_a_block_is_its_formula():
    """In float64, by places one after the other; pixels left over of an odd size count as queries alone."""
    block, rng = NonLocal(4), np.random.default_rng(0)
    for parameter in block.parameters():
        parameter.set_value(rng.normal(size=parameter.shape).astype("float32"))
    block.bn._variance.set_value(np.ones(4, "float32"))
    block.eval()
    x = rng.normal(size=(1, 4, 2, 2, 3)).astype("float32")

    def mapped(layer: paddle.nn.Layer, values: np.ndarray) -> np.ndarray:
        weights = layer.weight.numpy().astype("float64").reshape(layer.weight.shape[:2])
        return np.einsum("dc,cthw->dthw", weights, values) + layer.bias.numpy()[:, None, None, None]

    theta, phi, g = (mapped(layer, x[0]) for layer in (block.theta, block.phi, block.g))
    keys, values = (each[:, :, :2, :2].max((2, 3)) for each in (phi, g))  # -> (C / 2, T)
    y = np.empty_like(theta)
    for place in np.ndindex(theta.shape[1:]):
        weights = np.exp(theta[(slice(None), *place)] @ keys)
        y[(slice(None), *place)] = values @ (weights / weights.sum())
    scale, offset, mean = (
        tensor.numpy()[:, None, None, None] for tensor in (block.bn.weight, block.bn.bias, block.bn._mean)
    )
    expected = x[0] + (mapped(block.W, y) - mean) / np.sqrt(1 + 1e-5) * scale + offset
    np.testing.assert_allclose(block(paddle.to_tensor(x)).numpy()[0], expected, atol=1e-4)


def test_frames_are_those_of_clips_and_channels_may_be_last():
    clips = make_clips()
    first, last = (small_with_weights(channels_last=last) for last in (False, True))
    expected = logits_of(first, clips)
    np.testing.assert_allclose(logits_of(last, clips), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(logits_of(first, clips[1:]), expected[1:], rtol=1e-4, atol=1e-5)
    blocks = [layer for layer in first.sublayers() if isinstance(layer, FramesNonLocal)]
    assert len(blocks) == 2 and [block.seg_num for block in blocks] == [FRAMES, FRAMES]


def test_a_network_with_blocks_starts_from_a_plain_resnet(tmp_path, log):
    """Its blocks then change nothing; and a network without them takes no weights that have them."""
    config = MODELS.get("TSM").config(num_classes=CLASSES, num_layers=18, base_width=8, non_local=True)
    network, plain = build_network(Config(MODEL=config), "train"), small()
    write_folder(tmp_path, {name: tensor.numpy() for name, tensor in plain.variables().items()})
    load_start_weights(network, Config(MODEL=config, TRAIN=TrainSection(pretrain=str(tmp_path))))
    assert "100 loaded, 2 skipped, 24 not found (nl3a_g_weights" in log.text
    assert network.image_names().keys() == set(plain.variables()) - {"fc_0.w_0", "fc_0.b_0"}
    config = MODELS.get("TSM").config(non_local=True)
    with pytest.raises(InputError, match="tsm_kinetics is for non_local = False, and the config has True"):
        MODELS.get("TSM").released("kinetics", "--pretrain").fetch(config, "--pretrain", ())


def test_a_stream_is_refused():
    with pytest.raises(InputError, match="cannot follow .*, without non-local blocks"):
        small(shift="uni", non_local=True).initial_state(1, 32, 32)


def test_layouts_without_blocks_are_refused():
    state = recipe(18, 8, CLASSES)
    variables = to_ours(state)[0]
    for layout in ("mmaction2", "torchvision"):
        with pytest.raises(InputError, match=f"has non-local blocks: of the layouts here, {layout} has none; mit has"):
            from_ours(variables, layout, "TSM")
    del state["base_model.layer3.0.nl.theta.bias"]
    assert "incomplete: 1 of the 126 tensors" in refused(state)


def test_an_engine_computes_them(tmp_path):
    """Those of frames; test_inflated_networks.py has others."""
    network, clips, kind = small_with_weights(), make_clips(), "paddle"
    file = write_program(kind, network, clips.shape[1:], tmp_path / PROGRAMS[kind].files["fp32"])
    backend = ENGINES.get(PROGRAMS[kind].engine).load(Job(file, threads=2, batch_size=2, clip_shape=clips.shape[1:]))
    expected = PaddleNetwork(network)(clips)
    assert np.ptp(expected, axis=0).max() > 1e-3
    np.testing.assert_allclose(backend(clips), expected, atol=1e-5)
