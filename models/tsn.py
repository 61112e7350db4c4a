"""TSN: a ResNet on each of a clip's frames, and the mean of their features (Wang et al., ECCV 2016, section 3.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import paddle
from paddle import nn
from paddle.nn.layer.norm import _BatchNormBase

from video_zoo.configs.schema import ModelSection
from video_zoo.models.pretrained import Weights
from video_zoo.models.resnet import MakeShift, ResNet

DATA_FORMATS = {False: "NCHW", True: "NHWC"}


class TSN(nn.Layer):
    """Clips -> logits (N, num_classes).

    Args:
        num_classes: classes.
        seg_num: frames a clip.
        num_layers, base_width: of the ResNet.
        seglen: consecutive frames stacked at each of the seg_num places; they are the first convolution's channels.
        image_mean, image_std: of R, G, B on the scale 0 to 1.
        dropout: probability, before the last layer; None: the model's own, which is `default_dropout`.
        channels_last: the ResNet computes in NHWC; clips, weights and results are the same.
    """

    default_dropout = 0.0
    released = Weights("tsn_kinetics", top1=0.67)

    def __init__(
        self,
        num_classes: int = 400,
        seg_num: int = 3,
        num_layers: int = 50,
        base_width: int = 64,
        seglen: int = 1,
        image_mean: Sequence[float] = (0.485, 0.456, 0.406),
        image_std: Sequence[float] = (0.229, 0.224, 0.225),
        dropout: float | None = None,
        channels_last: bool = False,
    ):
        super().__init__()
        self._frozen: list[nn.Layer] = []
        self.seg_num = seg_num
        self.seglen = seglen
        self.register_buffer("image_mean", _per_channel(image_mean, seglen), persistable=False)
        self.register_buffer("image_std", _per_channel(image_std, seglen), persistable=False)
        self.backbone = ResNet(num_layers, base_width, 3 * seglen, self.make_shift(), DATA_FORMATS[channels_last])
        # Paddle 1.x's dropout: training does not rescale, inference multiplies by 1 - p.
        rate = self.default_dropout if dropout is None else dropout
        self.dropout = nn.Dropout(rate, mode="downscale_in_infer")
        bound = 1 / math.sqrt(self.backbone.out_channels)
        weight = paddle.ParamAttr(initializer=nn.initializer.Uniform(-bound, bound))
        self.fc = nn.Linear(self.backbone.out_channels, num_classes, weight, self.fc_bias_attr())

    @classmethod
    def from_config(cls, config: ModelSection, seg_num: int, channels_last: bool = False) -> TSN:
        """Builds the network that the MODEL section describes, for clips of `seg_num` segments."""
        return cls(**cls.arguments(config), seg_num=seg_num, channels_last=channels_last)

    @staticmethod
    def arguments(config: ModelSection) -> dict[str, object]:
        """The constructor's arguments that the MODEL section gives."""
        names = ("num_classes", "num_layers", "base_width", "seglen", "image_mean", "image_std", "dropout")
        return {name: getattr(config, name) for name in names}

    def make_shift(self) -> MakeShift:
        """What makes a block's shift: none here."""
        return nn.Identity

    def fc_bias_attr(self) -> paddle.ParamAttr | None:
        """How the last layer's bias learns: as everything else."""
        return None

    def forward(self, clips: paddle.Tensor) -> paddle.Tensor:
        """uint8 RGB clips (N, seg_num, 3 * seglen, H, W) -> logits (N, num_classes)."""
        return self.classify((clips.astype("float32") / 255 - self.image_mean) / self.image_std)

    def classify(self, clips: paddle.Tensor) -> paddle.Tensor:
        """Normalised float32 clips (N, seg_num, 3 * seglen, H, W) -> logits (N, num_classes)."""
        features = self.backbone(clips.flatten(0, 1))  # (N, T, C, H, W) -> (N * T, C, H, W) -> (N * T, F)
        features = self.dropout(features).reshape([-1, self.seg_num, features.shape[1]])  # -> (N, T, F)
        return self.fc(features.mean(1))

    def roll_shifts(self, on: bool) -> None:
        """Whether a static program of this network has its temporal shifts in the form for inference engines."""
        for layer in self.sublayers():
            if hasattr(layer, "rolls"):
                layer.rolls = on

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

    def variables(self) -> dict[str, paddle.Tensor]:
        """v1.5's name of each weight and statistic -> the tensor, in the order of the network."""
        return {_v15_name(key): tensor for key, tensor in self.state_dict().items()}


_V15_SUFFIXES = {"weight": "scale", "bias": "offset", "_mean": "mean", "_variance": "variance"}


def _v15_name(key: str) -> str:
    """`backbone.res2a.branch2b.bn.weight` -> `bn2a_branch2b_scale`."""
    parts = key.split(".")
    if parts[0] == "fc":
        return {"weight": "fc_0.w_0", "bias": "fc_0.b_0"}[parts[1]]
    layer, kind, leaf = "_".join(parts[1:-2]), parts[-2], parts[-1]
    if kind == "conv":
        return f"{layer}_weights"
    layer = f"bn_{layer}" if layer == "conv1" else layer.replace("res", "bn", 1)
    return f"{layer}_{_V15_SUFFIXES[leaf]}"


def _per_channel(values: Sequence[float], seglen: int) -> paddle.Tensor:
    return paddle.to_tensor(list(values) * seglen, dtype="float32").reshape([-1, 1, 1])
