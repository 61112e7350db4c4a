"""TSM: a ResNet whose blocks exchange channels between neighbouring frames (Lin, Gan, Han, ICCV 2019)."""

from __future__ import annotations

from functools import partial

import paddle

from video_zoo.configs.schema import ModelSection
from video_zoo.models.pretrained import Weights
from video_zoo.models.resnet import MakeShift
from video_zoo.models.temporal_shift import TemporalShift
from video_zoo.models.tsn import DATA_FORMATS, TSN


class TSM(TSN):
    """TSN with a temporal shift at the start of every block's residual branch, and dropout 0.5.

    Args:
        shift: "bi", or "uni" for live video (nothing from the future).
        seg_num: frames a clip.
        options: TSN's.
    """

    default_dropout = 0.5
    released = Weights("tsm_kinetics", top1=0.70)

    def __init__(self, shift: str = "bi", seg_num: int = 8, channels_last: bool = False, **options):
        self._make_shift = partial(TemporalShift, seg_num, shift, DATA_FORMATS[channels_last])
        super().__init__(seg_num=seg_num, channels_last=channels_last, **options)

    @staticmethod
    def arguments(config: ModelSection) -> dict[str, object]:
        """The constructor's arguments that the MODEL section gives."""
        return {**TSN.arguments(config), "shift": config.shift}

    def make_shift(self) -> MakeShift:
        """What makes a block's shift."""
        return self._make_shift

    def fc_bias_attr(self) -> paddle.ParamAttr:
        """v1.5: the last layer's bias learns at twice the rate, without weight decay."""
        return paddle.ParamAttr(learning_rate=2.0, regularizer=paddle.regularizer.L2Decay(0.0))
