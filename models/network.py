"""What every network of the zoo is to the rest of the program."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import ClassVar

import paddle
from paddle import nn
from paddle.nn.layer.norm import _BatchNormBase

from video_zoo.configs.schema import ModelSection
from video_zoo.models.spec import own_keys
from video_zoo.utils.errors import InputError

# The keys of ModelSection that every network takes as arguments of its constructor, by the same names.
_SHARED_ARGUMENTS = ("num_classes", "seglen", "image_mean", "image_std")


class VideoNetwork(nn.Layer):
    """uint8 RGB clips (n, T, 3, H, W) -> logits (n, num_classes). A network implements `classify`, and `step` with
    `state_shapes` if it can follow a stream.

    Args:
        image_mean, image_std: of R, G, B on the scale 0 to 1.

    Attributes:
        first_layer: the name in `variables` of a weight of the first layer, by which a folder of weights is known.
        last_layer: the names of the weights whose shapes depend on num_classes.
    """

    first_layer: ClassVar[str]
    last_layer: ClassVar[tuple[str, ...]]

    def __init__(self, image_mean: Sequence[float], image_std: Sequence[float]):
        super().__init__()
        self._frozen: list[nn.Layer] = []
        self.register_buffer("image_mean", _per_channel(image_mean), persistable=False)
        self.register_buffer("image_std", _per_channel(image_std), persistable=False)

    @classmethod
    def from_config(cls, config: ModelSection, seg_num: int, channels_last: bool = False) -> VideoNetwork:
        """Builds the network that the MODEL section describes.

        The keys that the model's section adds to ModelSection are arguments of the constructor, by the same names.

        Args:
            seg_num: segments a clip, which some modes set for themselves; a clip has seg_num * seglen frames.
            channels_last: convolutions compute in NHWC; clips, weights and results are the same.
        """
        names = [*_SHARED_ARGUMENTS, *(key.name for key in own_keys(type(config)))]
        return cls(**{name: getattr(config, name) for name in names}, seg_num=seg_num, channels_last=channels_last)

    def forward(self, clips: paddle.Tensor) -> paddle.Tensor:
        """uint8 RGB clips (n, T, 3, H, W) -> logits (n, num_classes)."""
        return self.classify(self.normalise(clips))

    def classify(self, clips: paddle.Tensor) -> paddle.Tensor:
        """Normalised float32 clips (n, T, 3, H, W) -> logits (n, num_classes)."""
        raise NotImplementedError

    def normalise(self, images: paddle.Tensor) -> paddle.Tensor:
        """uint8 RGB (..., 3, H, W) -> float32 of the same shape, with the mean and deviation that training had."""
        images = images.astype("float32")
        rows = images.reshape([-1, *images.shape[-3:]])  # with five axes Paddle Inference takes 300 times as long
        return ((rows / 255 - self.image_mean) / self.image_std).reshape([-1, *images.shape[1:]])

    def state_shapes(self, height: int, width: int) -> dict[str, tuple[int, ...]]:
        """What a stream's state consists of for frames of this size in pixels: the name of each float32 tensor, and its
        shape without the axis of the streams. Raises InputError if the network cannot follow a stream."""
        raise _no_stream(self)

    def initial_state(self, batch_size: int, height: int, width: int) -> dict[str, paddle.Tensor]:
        """What `step` takes before the first frame of `batch_size` streams: zeros (batch_size, *shape) of each name and
        shape of `state_shapes`. Raises InputError if the network cannot follow a stream."""
        shapes = self.state_shapes(height, width)
        return {name: paddle.zeros([batch_size, *shape]) for name, shape in shapes.items()}

    def step(
        self, frame: paddle.Tensor, state: Mapping[str, paddle.Tensor]
    ) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """The next frame of each stream, uint8 RGB (n, 3, H, W), and the state that the step before gave -> (the
        logits of this frame (n, num_classes), the next state). Raises InputError if the network cannot follow a stream,
        or the state is another network's, or of frames of another size."""
        raise _no_stream(self)

    def variables(self) -> dict[str, paddle.Tensor]:
        """All weights and statistics in the network's order, by the names of their files in a folder of weights."""
        return {self.variable_name(key): tensor for key, tensor in self.state_dict().items()}

    def last(self) -> nn.Layer:
        """The layer that makes logits of features."""
        weight = next(key for key in self.state_dict() if self.variable_name(key) == self.last_layer[0])
        return dict(self.named_sublayers())[weight.rpartition(".")[0]]

    def image_names(self) -> dict[str, str]:
        """Of the variables that weights of a 2-D ResNet can set, such as ImageNet's: name -> v1.5's name of it."""
        return {name: name for name in self.variables() if name not in self.last_layer}

    @staticmethod
    def variable_name(key: str) -> str:
        """The name of the file, in a folder of weights, for the entry `key` of the state_dict."""
        return key

    def freeze_batch_norm(self) -> None:
        """From now on, training changes neither statistics nor parameters of the BatchNorms."""
        self._frozen = [layer for layer in self.sublayers() if isinstance(layer, _BatchNormBase)]
        for layer in self._frozen:
            layer.eval()
            for parameter in layer.parameters():
                parameter.stop_gradient = True

    def train(self) -> None:
        """Sets training mode."""
        super().train()
        for layer in self._frozen:
            layer.eval()

    def prepare_for_export(
        self, steps: bool = False, for_converter: bool = True
    ) -> contextlib.AbstractContextManager[None]:
        """While its block runs, a static program made of this network, or with `steps` of its `step`, has the form that
        runs fast: in Paddle Inference, or with `for_converter` in the engines that it is converted for. It computes the
        same; nothing else should be computed meanwhile."""
        return contextlib.nullcontext()


def _no_stream(network: VideoNetwork) -> InputError:
    return InputError(
        f"{type(network).__name__} cannot follow a stream frame by frame: it needs whole clips. Train a TSM with"
        " MODEL.shift = uni for streams"
    )


def _per_channel(values: Sequence[float]) -> paddle.Tensor:
    return paddle.to_tensor(list(values), dtype="float32").reshape([-1, 1, 1])  # (3,) -> (3, 1, 1)
