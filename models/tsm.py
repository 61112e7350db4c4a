"""TSM: a network of images whose blocks exchange channels between neighbouring frames (Lin, Gan, Han, ICCV 2019)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

import paddle

from video_zoo.models.non_local import FramesNonLocal
from video_zoo.models.temporal_shift import TemporalShift
from video_zoo.models.tsn import DATA_FORMATS, TSN
from video_zoo.utils.errors import InputError


class TSM(TSN):
    """TSN with a temporal shift at the start of the residual branch of every block of a ResNet, and of every residual
    block of a MobileNetV2, and dropout 0.5. With "uni" it can follow a stream (section 3.3, online TSM).

    Args:
        shift: "bi", or "uni" for live video (nothing from the future).
        non_local: whether non-local blocks follow blocks of the ResNet (models/resnet.py, has_non_local).
        seg_num: segments a clip.
        options: TSN's.
    """

    default_dropout = 0.5

    def __init__(
        self, shift: str = "bi", non_local: bool = False, seg_num: int = 8, channels_last: bool = False, **options
    ):
        of_clips = (seg_num, DATA_FORMATS[channels_last])
        super().__init__(
            seg_num=seg_num,
            channels_last=channels_last,
            make_shift=partial(TemporalShift, seg_num, shift, of_clips[1]),
            make_non_local=partial(FramesNonLocal, *of_clips) if non_local else None,
            # v1.5: the last layer's bias learns at twice the rate, without weight decay.
            fc_bias=paddle.ParamAttr(learning_rate=2.0, regularizer=paddle.regularizer.L2Decay(0.0)),
            **options,
        )
        self.shift, self.non_local = shift, non_local
        self._shifts = [layer for layer in self.sublayers() if isinstance(layer, TemporalShift)]

    def initial_state(self, batch_size: int) -> list[paddle.Tensor]:
        """What each shift takes for the frame before the first: zeros, which stand for any size of its channels.

        Raises InputError unless the shift is "uni", seglen 1, and there are no non-local blocks.
        """
        if self.shift != "uni" or self.seglen != 1 or self.non_local:
            blocks = ", without non-local blocks" if self.non_local else ""
            raise InputError(
                f"a TSM with shift {self.shift} and seglen {self.seglen} cannot follow a stream frame by frame: that"
                f" takes a network trained with MODEL.shift = uni and MODEL.seglen = 1{blocks}"
            )
        return [paddle.zeros([batch_size, 1, 1, 1]) for _ in self._shifts]

    def step(self, frame: paddle.Tensor, state: list[paddle.Tensor]) -> tuple[paddle.Tensor, list[paddle.Tensor]]:
        """uint8 RGB (n, 3, H, W) and what each shift kept of the frame before -> (logits (n, num_classes), what each
        keeps of this one). The logits are this frame's; their mean over a clip's frames is the clip's in eval mode."""
        for shift, past in zip(self._shifts, state):
            shift.past = past
        try:
            features = self.dropout(self.backbone(self.normalise(frame)))  # -> (n, F)
            return self.fc(features), [shift.past for shift in self._shifts]
        finally:
            for shift in self._shifts:
                shift.past = None

    @contextlib.contextmanager
    def prepare_for_export(self) -> Iterator[None]:
        """The shifts of a static program are in four dimensions; see TemporalShift.roll."""
        for shift in self._shifts:
            shift.rolls = True
        try:
            yield
        finally:
            for shift in self._shifts:
                shift.rolls = False
