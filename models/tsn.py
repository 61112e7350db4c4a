"""TSN: a backbone on each of a clip's frames, and the mean of their features (Wang et al., ECCV 2016, section 3.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import paddle
from paddle import nn

from video_zoo.models.backbones import BACKBONES
from video_zoo.models.network import VideoNetwork
from video_zoo.models.resnet import MakeNonLocal, MakeShift

DATA_FORMATS = {False: "NCHW", True: "NHWC"}


class TSN(VideoNetwork):
    """Clips of seg_num * seglen frames -> logits (n, num_classes). Its variables are named as v1.5 names them.

    Args:
        num_classes: classes.
        seg_num: segments a clip; the backbone sees one image of each.
        backbone: the network of images, by its name in BACKBONES.
        seglen: consecutive frames of a segment, which are stacked to an image of 3 * seglen channels.
        image_mean, image_std: of R, G, B on the scale 0 to 1.
        dropout: probability, before the last layer; None: the model's own, which is `default_dropout`.
        channels_last: the backbone computes in NHWC; clips, weights and results are the same.
        make_shift: called once a block that shifts, gives what its residual branch does to its input first.
        fc_bias: how the last layer's bias learns; None: as everything else.
        make_non_local: of a ResNet; None: no other backbone has it.
        sizes: of the backbone, by the names of the MODEL section; those of other backbones are left out.

    Attributes:
        frames_first: the backbone is given the first frames of all clips, then their second ones, and so on.
    """

    first_layer = "conv1_weights"
    last_layer = ("fc_0.w_0", "fc_0.b_0")
    default_dropout = 0.0

    def __init__(
        self,
        num_classes: int = 400,
        seg_num: int = 3,
        backbone: str = "resnet",
        seglen: int = 1,
        image_mean: Sequence[float] = (0.485, 0.456, 0.406),
        image_std: Sequence[float] = (0.229, 0.224, 0.225),
        dropout: float | None = None,
        channels_last: bool = False,
        make_shift: MakeShift = nn.Identity,
        fc_bias: paddle.ParamAttr | None = None,
        make_non_local: MakeNonLocal | None = None,
        **sizes: int | float,
    ):
        super().__init__(image_mean, image_std)
        self.seg_num = seg_num
        self.seglen = seglen
        self.frames_first = False
        options = {"in_channels": 3 * seglen, "make_shift": make_shift, "data_format": DATA_FORMATS[channels_last]}
        if make_non_local:
            options["make_non_local"] = make_non_local
        self.backbone = BACKBONES[backbone].make(sizes, **options)
        # Paddle 1.x's dropout: training does not rescale, inference multiplies by 1 - p.
        rate = self.default_dropout if dropout is None else dropout
        self.dropout = nn.Dropout(rate, mode="downscale_in_infer")
        bound = 1 / math.sqrt(self.backbone.out_channels)
        weight = paddle.ParamAttr(initializer=nn.initializer.Uniform(-bound, bound))
        self.fc = nn.Linear(self.backbone.out_channels, num_classes, weight, fc_bias)

    def classify(self, clips: paddle.Tensor) -> paddle.Tensor:
        """Normalised float32 clips (n, seg_num * seglen, 3, H, W) -> logits (n, num_classes)."""
        segments = clips.reshape([-1, self.seg_num, 3 * self.seglen, *clips.shape[3:]])
        if self.frames_first:
            segments = segments.transpose([1, 0, 2, 3, 4])
        features = self.dropout(self.backbone(segments.reshape([-1, *segments.shape[2:]])))  # -> (n * seg_num, F)
        sizes, axis = ([self.seg_num, -1], 0) if self.frames_first else ([-1, self.seg_num], 1)
        return self.fc(features.reshape([*sizes, features.shape[1]]).mean(axis))

    def image_names(self) -> dict[str, str]:
        """A plain backbone has all but the last layer and the non-local blocks, by the same names."""
        return {name: name for name in super().image_names() if not name.startswith(("nl", "bn_nl"))}

    @staticmethod
    def variable_name(key: str) -> str:
        """v1.5's: `backbone.res2a.branch2b.bn.weight` -> `bn2a_branch2b_scale`; likewise of what it has not, non-local
        blocks, `backbone.nl3a.theta.bias` -> `nl3a_theta_biases`, and a MobileNetV2's blocks,
        `backbone.block3.expand.bn.weight` -> `bn_block3_expand_scale`."""
        parts = key.split(".")
        if parts[0] == "fc":
            return {"weight": "fc_0.w_0", "bias": "fc_0.b_0"}[parts[1]]
        layer, kind, leaf = "_".join(parts[1:-2]), parts[-2], parts[-1]
        if kind == "conv":
            return f"{layer}_weights"
        if kind != "bn":
            return f"{layer}_{kind}_{_V15_CONVOLUTION[leaf]}"
        layer = layer.replace("res", "bn", 1) if layer.startswith("res") else f"bn_{layer}"
        return f"{layer}_{_V15_SUFFIXES[leaf]}"


_V15_SUFFIXES = {"weight": "scale", "bias": "offset", "_mean": "mean", "_variance": "variance"}
_V15_CONVOLUTION = {"weight": "weights", "bias": "biases"}
