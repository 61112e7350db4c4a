"""A network as Paddle's own static program, which Paddle Inference runs and the other kinds of programs are made of."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import paddle
from paddle import nn
from paddle.nn import functional as F

from video_zoo.engine.backends.base import Job
from video_zoo.utils.runtime import captured_output
from video_zoo.utils.stop import held

if TYPE_CHECKING:
    from video_zoo.models.network import VideoNetwork


class _Classifier(nn.Layer):
    """Clips -> probabilities."""

    def __init__(self, network: nn.Layer):
        super().__init__()
        self.network = network

    def forward(self, clips: paddle.Tensor) -> paddle.Tensor:
        return F.softmax(self.network(clips))


class _Stepper(nn.Layer):
    """Frames and what was kept of those before -> logits, and what is kept of these.

    Args:
        state: the names of the state's tensors, in the order of the inputs.
    """

    def __init__(self, network: VideoNetwork, state: Sequence[str]):
        super().__init__()
        self.network = network
        self._state = tuple(state)

    def forward(self, frame: paddle.Tensor, kept: Sequence[paddle.Tensor]) -> tuple[paddle.Tensor, ...]:
        logits, state = self.network.step(frame, dict(zip(self._state, kept)))
        return logits, *(state[name] for name in self._state)


def save_static_program(
    network: VideoNetwork, job: Job, path: Path, *, newest_form: bool = False, for_converter: bool = False
) -> Path:
    """Writes a float32 program with the weights beside it in .pdiparams.

    Args:
        job: its inputs, of any number of clips or streams, and outputs.
        path: its suffix is replaced.
        newest_form: .json, Paddle 3's intermediate representation, where Paddle is 3. Otherwise .pdmodel: Paddle
            Inference runs it 1.3 times as fast on a CPU, OpenVINO reads it, and so does either Paddle.
        for_converter: the network has the form that is fast in the engines it is converted for (`prepare_for_export`).

    Returns: the file.
    """
    old_form = getattr(getattr(paddle, "pir_utils", None), "OldIrGuard", None)  # Paddle 3 has it
    newest_form = newest_form and old_form is not None
    layer = _Stepper(network, job.state) if job.state else _Classifier(network)
    layer.eval()
    shift_form = network.prepare_for_export(bool(job.state), for_converter)
    form = contextlib.nullcontext() if newest_form or old_form is None else old_form()
    # Paddle catches what a signal's handler raises here, and raises another exception.
    with held(), shift_form, captured_output(), form:
        # Nothing in them depends on a tensor's value: their code need not be translated, which takes half of the time.
        paddle.jit.ignore_module([sys.modules[type(each).__module__] for each in layer.sublayers(include_self=True)])
        types = ["uint8", *["float32"] * len(job.state)]
        spec = [paddle.static.InputSpec([None, *job.inputs[name]], kind, name) for name, kind in zip(job.inputs, types)]
        spec[1:] = [spec[1:]] if job.state else []  # the tensors of a state are a list
        program = paddle.jit.to_static(layer, input_spec=spec, full_graph=True)
        paddle.jit.save(program, str(path.with_suffix("")))
    path.with_suffix(".pdiparams.info").unlink(missing_ok=True)  # names for further training
    return path.with_suffix(".json" if newest_form else ".pdmodel")
