"""TSM: a network of images whose blocks exchange channels between neighbouring frames (Lin, Gan, Han, ICCV 2019)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial

import paddle
from paddle import nn

from video_zoo.models.non_local import FramesNonLocal
from video_zoo.models.resnet import ResNet
from video_zoo.models.split_resnet import SplitResNet
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
        shifts = ((name, layer) for name, layer in self.backbone.named_sublayers() if isinstance(layer, TemporalShift))
        # by the name of the block: backbone.res2a.shift is res2a's
        self._shifts = {name.rpartition(".")[0].replace(".", "_"): layer for name, layer in shifts}
        self._state_shapes: dict[tuple[int, int], dict[str, tuple[int, ...]]] = {}

    def state_shapes(self, height: int, width: int) -> dict[str, tuple[int, ...]]:
        """The name of each block that shifts -> (C/8, H, W), or (H, W, C/8) in a network that computes in NHWC: what
        the block keeps of a frame for the next one, an eighth of its input's channels.

        They are float32: 2.8 MB a stream of a ResNet-50 at 224 x 224, 0.46 MB of a ResNet-18, 0.11 MB of a
        MobileNetV2.

        Raises InputError unless the shift is "uni", seglen 1, and there are no non-local blocks.
        """
        self._check_streams()
        if (height, width) not in self._state_shapes:
            self._state_shapes[height, width] = self._find_state_shapes(height, width)
        return dict(self._state_shapes[height, width])

    def _find_state_shapes(self, height: int, width: int) -> dict[str, tuple[int, ...]]:
        """By a pass over a black frame, in which nothing learns."""
        hooks = [shift.register_forward_pre_hook(_begin_stream) for shift in self._shifts.values()]
        training = self.training
        self.eval()
        try:
            with paddle.no_grad():
                self.backbone(paddle.zeros([1, 3, height, width]))
            return {name: tuple(shift.past[0].shape[1:]) for name, shift in self._shifts.items()}
        finally:
            self._forget()
            for hook in hooks:
                hook.remove()
            if training:
                self.train()

    def _check_streams(self) -> None:
        if self.shift != "uni" or self.seglen != 1 or self.non_local:
            blocks = ", without non-local blocks" if self.non_local else ""
            raise InputError(
                f"a TSM with shift {self.shift} and seglen {self.seglen} cannot follow a stream frame by frame: that"
                f" takes a network trained with MODEL.shift = uni and MODEL.seglen = 1{blocks}"
            )

    def step(
        self, frame: paddle.Tensor, state: Mapping[str, paddle.Tensor]
    ) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """uint8 RGB (n, 3, H, W) and what each block kept of the frame before -> (logits (n, num_classes), what each
        keeps of this one). The logits are this frame's; their mean over a clip's frames is the clip's in eval mode.

        Raises InputError: the state is another network's, or of another size or number of frames.
        """
        if paddle.in_dynamic_mode():  # a static program knows no number of streams
            self._check_state(frame, state)
        for name, shift in self._shifts.items():
            shift.past = [state[name]]
        try:
            features = self.dropout(self.backbone(self.normalise(frame)))  # -> (n, F)
            return self.fc(features), {name: shift.past[0] for name, shift in self._shifts.items()}
        finally:
            self._forget()

    def _check_state(self, frame: paddle.Tensor, state: Mapping[str, paddle.Tensor]) -> None:
        """Raises InputError unless the state is one of this network for such frames."""
        streams, _, height, width = frame.shape
        needed = {name: [streams, *shape] for name, shape in self.state_shapes(height, width).items()}
        for name in [*needed, *state]:
            found = list(state[name].shape) if name in state else None
            if found != needed.get(name):
                raise InputError(
                    f"the state does not fit this network and {streams} frames of {height} x {width}: {name} is"
                    f" {found or 'missing'} and should be {needed.get(name, 'absent')}. A stream has frames of one"
                    " size, and begins with initial_state of the network that follows it"
                )

    def _forget(self) -> None:
        for shift in self._shifts.values():
            shift.past = []

    @contextlib.contextmanager
    def prepare_for_export(self, steps: bool = False, for_converter: bool = True) -> Iterator[None]:
        """For clips, the network has their frames first, and a ResNet keeps the channels that move apart (SplitResNet).
        Of steps for converters, the shifts become parts of convolutions (TemporalShift.split)."""
        whole = self.backbone
        with contextlib.ExitStack() as stack:
            for layer in [] if steps else self.sublayers(include_self=True):
                if hasattr(layer, "frames_first"):
                    stack.callback(setattr, layer, "frames_first", False)
                    layer.frames_first = True
            if not steps and self._can_be_split():
                stack.callback(setattr, self, "backbone", whole)
                self.backbone = SplitResNet(whole)
            for name, layer in whole.named_sublayers() if steps and for_converter else ():
                shift = self._shifts.get(name.replace(".", "_"))
                convolution = next((each for each in layer.sublayers() if isinstance(each, nn.Conv2D)), None)
                if shift is not None and convolution._groups == 1:
                    stack.enter_context(shift.split(convolution))
            yield

    def _can_be_split(self) -> bool:
        if not isinstance(self.backbone, ResNet) or self.non_local or self.backbone.data_format != "NCHW":
            return False
        return self.backbone.conv1.conv.weight.shape[0] >= 8  # otherwise nothing moves in the first block


def _begin_stream(shift: TemporalShift, inputs: tuple[paddle.Tensor]) -> None:
    shift.past = [paddle.zeros_like(shift.first_fold(inputs[0]))]
