"""Convolutions by oneDNN: the same as Paddle's own, forward and backward."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle import nn
from paddle.nn import functional as F

from video_zoo.models import convolution
from video_zoo.models.convolution import Conv2D, Conv3D
from video_zoo.utils import onednn

pytestmark = pytest.mark.contract


def _with_gradients(layer, x, *, own):
    """(result, gradient of the weight, gradient of x) of one pass, by oneDNN or by Paddle's own convolution."""
    layer.clear_gradients()
    x = x.detach()
    x.stop_gradient = False
    y = layer(x) if own else super(convolution._OneDNN, layer).forward(x)
    (y * paddle.linspace(-1, 1, y.size).reshape(y.shape)).sum().backward()
    return [tensor.numpy().copy() for tensor in (y, layer.weight.grad, x.grad)]


def _assert_near(found, expected):
    for ours, theirs in zip(found, expected):
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= 1e-5 * max(1.0, np.abs(theirs).max())


def test_paddle_has_onednn():
    assert onednn.is_there()


@settings(deadline=None, max_examples=40)
@given(
    data=st.tuples(*[st.integers(1, 20)] * 2, st.integers(7, 18), st.integers(7, 18), st.integers(1, 3)),
    kernel=st.sampled_from([1, 3, 7]),
    stride=st.integers(1, 3),
    data_format=st.sampled_from(["NCHW", "NHWC"]),
    seed=st.integers(0, 9),
)
def test_equals_paddles_own(data, kernel, stride, data_format, seed):
    inputs, outputs, height, width, clips = data
    paddle.seed(seed)
    layer = Conv2D(inputs, outputs, kernel, stride, kernel // 2, data_format=data_format)
    x = paddle.randn([clips, inputs, height, width] if data_format == "NCHW" else [clips, height, width, inputs])
    _assert_near(_with_gradients(layer, x, own=True), _with_gradients(layer, x, own=False))


@pytest.mark.parametrize(("inputs", "stride"), [(1, 2), (5, 2), (3, 3)])
def test_few_channels_with_a_stride(inputs, stride):
    """oneDNN reads memory that nobody has written, if it is given such tensors as they are."""
    for _ in range(3):
        layer, x = Conv2D(inputs, 32, 1, stride, data_format="NHWC"), paddle.randn([4, 26, 14, inputs])
        _assert_near(_with_gradients(layer, x, own=True), _with_gradients(layer, x, own=False))


def test_a_view_of_other_memory_is_taken_in_its_own_order():
    layer = Conv2D(4, 8, 3, 1, 1, data_format="NCHW")
    x = paddle.randn([2, 9, 9, 4]).transpose([0, 3, 1, 2])
    _assert_near(_with_gradients(layer, x, own=True), _with_gradients(layer, x.clone(), own=False))


def test_what_does_not_learn_gets_no_gradient():
    layer, x = Conv2D(3, 8, 3, data_format="NCHW"), paddle.randn([2, 3, 9, 9])
    layer(x).sum().backward()
    assert x.grad is None and layer.weight.grad.numpy().any()
    layer.clear_gradients()
    layer.weight.stop_gradient, x.stop_gradient = True, False
    layer(x).sum().backward()
    assert not layer.weight.grad.numpy().any() and x.grad.numpy().any()
    with paddle.no_grad():
        assert np.array_equal(layer(x).numpy(), layer(x.detach()).numpy()) and layer(x).stop_gradient


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_three_dimensions_and_groups(groups):
    x, weight = paddle.randn([2, 6, 5, 9, 8]), paddle.randn([12, 6 // groups, 3, 3, 3])
    x.stop_gradient = weight.stop_gradient = False
    expected = F.conv3d(x, weight, stride=[1, 2, 2], padding=1, groups=groups)
    gradient = paddle.randn(expected.shape)
    expected.backward(gradient)
    ours = onednn.Convolution(x.shape, weight.shape, (1, 2, 2), (1, 1, 1), (1, 1, 1), groups)
    found = ours.forward(x, weight), ours.backward_data(gradient, weight), ours.backward_weights(x, gradient)
    _assert_near([each.numpy() for each in found], [each.numpy() for each in (expected, x.grad, weight.grad)])


@settings(deadline=None, max_examples=25)
@given(
    channels=st.tuples(*[st.integers(1, 6)] * 2),
    size=st.tuples(*[st.integers(3, 9)] * 3),
    kernel=st.tuples(*[st.integers(1, 3)] * 3),
    stride=st.tuples(*[st.integers(1, 2)] * 3),
    padding=st.one_of(st.just("SAME"), st.tuples(*[st.integers(0, 1)] * 3)),
    groups=st.integers(1, 2),
    bias=st.booleans(),
)
def test_clips_equal_paddles_own(channels, size, kernel, stride, padding, groups, bias):
    inputs, outputs = (count * groups for count in channels)
    layer = Conv3D(inputs, outputs, kernel, stride, padding, groups=groups, bias=bias)
    if bias:
        layer.bias.set_value(paddle.randn([outputs]))
    x = paddle.randn([2, inputs, *size])
    found = _with_gradients(layer, x, own=True)
    if padding == "SAME":
        assert found[0].shape == (2, outputs, *(-(-length // step) for length, step in zip(size, stride)))
    _assert_near(found, _with_gradients(layer, x, own=False))


def test_two_threads_do_not_disturb_each_other():
    layer, x = Conv2D(32, 32, 3, 1, 1, data_format="NHWC"), paddle.randn([4, 20, 20, 32])
    with paddle.no_grad():
        expected = layer(x).numpy()
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda _: Conv2D.forward(layer, x).numpy(), range(60)))
    assert all(np.array_equal(each, expected) for each in found)


@pytest.mark.parametrize("why", ["float64", "float16 weights", "float64 by default"])
def test_other_types(why):
    layer, x = Conv2D(3, 8, 3, data_format="NCHW"), paddle.randn([2, 3, 9, 9])
    expected = nn.Conv2D.forward(layer, x).numpy()
    if why == "float16 weights":
        layer.to(dtype="float16")
        with pytest.raises(Exception, match="(?i)type"):
            layer(x)
        return
    if why == "float64":
        layer.to(dtype="float64")
        assert np.abs(layer(x.astype("float64")).numpy() - expected).max() < 1e-4
        return
    paddle.set_default_dtype("float64")
    try:
        assert np.abs(layer(x).numpy() - expected).max() < 1e-4
    finally:
        paddle.set_default_dtype("float32")


@pytest.mark.parametrize("shape", [[2, 4, 9, 9], [3, 9, 9]])
def test_shapes_that_do_not_fit_are_paddles_errors(shape):
    layer, x = Conv2D(3, 8, 3, data_format="NCHW"), paddle.randn(shape)
    with pytest.raises(ValueError) as expected:
        nn.Conv2D.forward(layer, x)
    with pytest.raises(ValueError) as found:
        layer(x)
    assert str(found.value).splitlines()[-1] == str(expected.value).splitlines()[-1]


@pytest.mark.parametrize("reason", ["none there", "another version", "turned off", "cannot be loaded"])
def test_without_onednn_paddle_computes(monkeypatch, reason):
    def fail(path):
        raise OSError("libgomp.so.1: cannot open shared object file")

    if reason == "none there":
        monkeypatch.setattr(onednn, "_LIBRARIES", ())
    elif reason == "another version":
        monkeypatch.setattr(onednn, "_VERSION", 4)
    elif reason == "turned off":
        monkeypatch.setenv("FLAGS_use_mkldnn", "0")
    else:
        monkeypatch.setattr(onednn.ctypes, "CDLL", fail)
    monkeypatch.setattr(onednn, "_library", onednn._open_library)
    assert not onednn.is_there()
    layer, x = Conv2D(3, 8, 3, data_format="NCHW"), paddle.randn([2, 3, 9, 9])
    monkeypatch.setattr(convolution, "_convolution", None)  # would fail if it were called
    assert np.array_equal(layer(x).numpy(), nn.Conv2D.forward(layer, x).numpy())


@pytest.mark.parametrize(("status", "error"), [(1, MemoryError), (2, RuntimeError)])
def test_what_fails_in_onednn_is_an_error(status, error):
    failing = SimpleNamespace(functions=SimpleNamespace(dnnl_primitive_create=lambda *_: status))
    with pytest.raises(error, match=f"primitive_create failed with status {status}"):
        onednn._Library.call(failing, "primitive_create")
