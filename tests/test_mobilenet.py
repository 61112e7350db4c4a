"""MobileNetV2 as a backbone: against MIT's TSMs and torchvision's rule, weights of others, keys, streams and programs."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from peer_recipe import clip_batch, golden, weight

from video_zoo.models.torch_weights import LAYOUTS_OF, from_ours, to_ours
from video_zoo.models.tsm import TSM
from video_zoo.models.weight_layouts import Network, tensors_of


def recipe(net: str, layout: str, network: Network) -> dict[str, np.ndarray]:
    """MIT's weights by the golden file's recipe."""
    state = {}
    for tensor in tensors_of(network, LAYOUTS_OF[network.backbone][layout]):
        shape = tensor.shape[::-1] if tensor.is_transposed else tensor.shape
        state[tensor.theirs] = weight(net, tensor.theirs, shape)
    return state


def with_weights(network: TSM, variables: dict[str, np.ndarray]) -> TSM:
    tensors = network.variables()
    assert list(tensors) == list(variables) or tensors.keys() == variables.keys()
    for name, value in variables.items():
        tensors[name].set_value(np.ascontiguousarray(value))
    network.eval()
    return network


@pytest.mark.contract
@pytest.mark.parametrize(
    ("net", "network", "seed", "parameters"),
    [
        ("tsm_mbv2", Network("TSM", num_classes=27, backbone="mobilenet_v2"), 1601, 2_258_459),
        ("tsm_r50", Network("TSM"), 1602, 24_327_632),
    ],
)
def test_logits_are_mits(net, network, seed, parameters):
    """Of the golden file's first clip, and of its second one played backwards."""
    state = recipe(net, "mit", network)
    variables, layout, found = to_ours(state)
    assert layout == "mit" and found.backbone == network.backbone
    ours = with_weights(TSM(num_classes=network.num_classes, backbone=network.backbone), variables)
    assert sum(each.size for each in ours.parameters() if not each.stop_gradient) == parameters
    of_file, clips = golden(net), clip_batch(2, 8, 224, seed)
    with paddle.no_grad():
        logits = ours.classify(paddle.to_tensor(np.stack([clips[0], clips[1, ::-1]]))).numpy()
    expected = np.stack([of_file["a_logits"][0], of_file["a_logits_reversed"][1]])
    np.testing.assert_allclose(logits, expected, atol=5e-4, rtol=1e-4)


@pytest.mark.contract
def test_a_stream_is_mits_online_network():
    state = recipe("tsm_mbv2_online", "mit_online", Network("TSM", num_classes=27, backbone="mobilenet_v2"))
    variables, layout, found = to_ours(state)
    assert (layout, found.shift) == ("mit_online", "uni")
    network = with_weights(TSM(num_classes=27, backbone="mobilenet_v2", shift="uni"), variables)
    network.normalise = lambda frame: frame  # the recipe's clips are normalised
    of_file, frames, logits = golden("tsm_mbv2_online"), clip_batch(1, 12, 224, 1501)[0], []
    state = network.initial_state(1)
    with paddle.no_grad():
        for frame in frames:
            of_frame, state = network.step(paddle.to_tensor(frame[None]), state)
            logits.append(of_frame.numpy()[0])
    np.testing.assert_allclose(logits, of_file["a_logits"], atol=5e-4, rtol=1e-4)
    assert len(state) == 10
