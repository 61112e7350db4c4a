"""`video_zoo.load`: a model in three lines of Python, with the readers and engines of infer.py."""

from __future__ import annotations

import contextlib
import os
import pathlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from video_zoo.configs.schema import Config
from video_zoo.datareader.batches import Batch
from video_zoo.datareader.inputs import find_inputs
from video_zoo.datareader.online_frames import OnlineFrames
from video_zoo.datareader.protocols import protocol_of
from video_zoo.datareader.sampling import Windows
from video_zoo.datareader.stream import StreamReader
from video_zoo.datareader.views import View
from video_zoo.engine.array_reader import ArrayReader
from video_zoo.engine.backends.base import Backend
from video_zoo.engine.deployment import is_deployment
from video_zoo.engine.evaluate import VideoLogits, log_softmax, steps_of
from video_zoo.engine.inference import check_paddle, open_backend, open_features
from video_zoo.engine.predictions import Failed, Features, Prediction, Predictions, make_prediction, normalized
from video_zoo.engine.settings import Trained, find_settings
from video_zoo.engine.sources import Path, Reader, Source, failures_of, open_input, path_text, sort_source
from video_zoo.engine.streams import Streams, follow, open_streams
from video_zoo.models import MODELS
from video_zoo.utils.errors import InputError

if TYPE_CHECKING:
    from video_zoo.engine.backends.paddle_network import FeatureNetwork

_DEVICES = {"auto": None, "cpu": False, "gpu": True}
_FRAMES_BYTES = 256 << 20  # of frames that predictions keep
_CLIPS_AT_ONCE = 8  # of views and of lists, at most


def load(
    weights: Path,
    *,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "fp32",
    config: Path | Mapping[str, Mapping[str, Any]] | None = None,
) -> Predictor:
    """A model that predicts::

        import video_zoo

        model = video_zoo.load("mine/TSM_best")
        print(model.predict("holiday.mp4", top_k=5))

    Args:
        weights: a checkpoint, a deployment folder of export.py, or a model's name, as "TSM", for the weights that
            PaddleVideo v1.5 released; a file or folder of that name comes first. v1.5's folders need a `config`.
        device: "auto" takes a GPU if there is one, "gpu" insists on it, "cpu" leaves it out.
        engine: one of infer.py's --engine; "auto": the fastest that is installed.
        precision: of the arithmetic, as infer.py's --precision: "fp32", "bf16", "int8" ...
        config: replaces parts of what the weights say: a config file, or {"INFER": {"short_size": 128}}; of a
            deployment folder only as a dictionary.

    Raises InputError: the weights cannot be read or do not say enough, or the engine cannot compute here.
    """
    use_gpu = use_gpu_of(device)
    place, given = os.path.expanduser(os.fspath(weights)), {}
    if os.path.exists(place):
        place = os.path.abspath(place)  # the program may change its folder
    elif not place:
        raise InputError("weights='': give a checkpoint, a deployment folder or a model's name, as 'TSM'")
    if isinstance(config, Mapping):
        if not all(isinstance(name, str) and isinstance(keys, Mapping) for name, keys in config.items()):
            raise InputError(f'config={config}: the form is {{"SECTION": {{"key": value}}}}')
    elif config is not None:
        if is_deployment(place):
            raise InputError(
                f"config={os.fspath(config)}: {place} is a deployment folder, which holds the config of its programs."
                ' Leave the file out, or give the keys that are to change: config={"INFER": {"short_size": 128}}'
            )
        given["file"], config = os.path.expanduser(os.fspath(config)), {}
    return Predictor(place, {"INFER": {}, **(config or {})}, given, engine, precision, use_gpu)


def use_gpu_of(device: str) -> bool | None:
    """A device as --use_gpu has it: "auto" is None. Raises InputError: it is none of the three."""
    if device not in _DEVICES:
        raise InputError(f"device={device!r}: choose from {', '.join(_DEVICES)}")
    return _DEVICES[device]


class Predictor:
    """A model that is loaded; `load` makes it.

    Attributes:
        names: of the classes.
        name: of the network, as "TSM".
        clip_shape: (T, 3, H, W) that the network is given.
        description: what computes, and on what.
        settings: the whole config.
    """

    def __init__(
        self,
        weights: str,
        flags: Mapping[str, Mapping[str, Any]],
        given: Mapping[str, Any],
        engine: str,
        precision: str,
        use_gpu: bool | None,
    ):
        self._find = (weights, dict(flags), given)
        self._trained = find_settings(weights, self._find[1], "infer", **given)
        self._engine, self._precision, self._use_gpu = engine, precision, use_gpu
        self._one_at_a_time = threading.RLock()  # engines have one set of buffers
        self._backends: dict[tuple, Backend] = {}
        self._network: FeatureNetwork | None = None
        self._streams: Streams | None = None
        self.settings, self.names = self._trained.settings, self._trained.names
        self.name, self.clip_shape = self.settings.MODEL.name.upper(), self.settings.clip_shape("infer")
        deployment = self._trained.deployment
        follows = deployment is not None and deployment.state
        self.description = (self._follower() if follows else self._backend(self._trained, "infer")).description

    def __repr__(self) -> str:
        return f"{self.name}, {len(self.names)} classes, clips {self.clip_shape}: {self.description}"

    def predict(
        self,
        source: Source,
        top_k: int = 5,
        window_s: float | None = None,
        stride_s: float | None = None,
        protocol: str | None = None,
    ) -> Predictions | Iterator[Prediction]:
        """The most probable classes of each video.

        Args:
            source: a path, a folder, a pattern ("clips/*.mp4"), or an iterable of them; a clip, uint8 RGB (T, H, W, 3)
                of any length and size, several (n, T, H, W, 3), an iterable of clips, or of a clip's frames (H, W, 3);
                a stream's address or a camera's number, of which predictions come one by one, until it ends.
            top_k: classes of each.
            window_s: predicts windows of so many seconds, which a stream needs.
            stride_s: from a window to the next; None: window_s.
            protocol: averages the views of test.py's --protocol, as "uniform10".

        Returns: the predictions; what of a list, a folder or a pattern cannot be read is in their `failures`. Of a
        stream an iterator, which raises InputError where the stream breaks off for good.

        Raises InputError: a path by itself is not there or its one video cannot be read, the list is empty, or the
        arguments do not go together.
        """
        if top_k < 1:
            raise InputError(f"top_k={top_k}: at least 1")
        mode = "infer" if protocol is None else "test"
        trained = self._trained if protocol is None else self._with_protocol(protocol)
        if protocol is not None and window_s is not None:
            raise InputError("protocol averages views of whole videos: leave out window_s or protocol")
        reader, failures, live = self._open(trained, mode, source, window_s, stride_s)
        predictions = self._predict(trained, mode, reader, top_k, keep=not live)
        if live:
            return predictions
        items = list(predictions)
        return Predictions(items, failures_of(reader, failures, source, len(items)))

    def follow(self, source: Path | int, top_k: int = 5, fps: float | None = None) -> Iterator[Prediction]:
        """The most probable classes of each frame, as it comes, of a network that was trained with MODEL.shift = uni
        (Lin, Gan, Han, ICCV 2019, section 3.3). What a frame's logits tell is of this frame and those before it; they
        are not smoothed. Of a camera or a live stream frames are left out where this machine is too slow.

        Args:
            source: an address, a camera's number, or a video file.
            fps: frames a second that are taken, at most; None: ONLINE.fps.

        Raises InputError: the network needs whole clips, nothing is there, or the source broke off for good.
        """
        inputs = find_inputs([path_text(source)])
        given = [*inputs.streams, *map(pathlib.Path, (video.path for video in inputs.videos))]
        if len(given) > 1:
            raise InputError(f"{source} has {len(given)} videos: follow one after the other")
        settings, changed = self.settings, threading.Condition()
        streams, view = self._follower(), View.of(settings, "infer", MODELS.get(settings.MODEL.name).eval_transform)
        frames = OnlineFrames(given[0], view.transformed, fps or settings.ONLINE.fps, changed)

        def predictions() -> Iterator[Prediction]:
            check_paddle(needed=False)  # another thread than this one may ask for them
            for frame, logits in follow(streams, frames, changed):
                row = np.exp(log_softmax(logits)).astype(np.float32)
                times = (frame.time_s, frame.time_s)
                yield make_prediction(frames.name, times, row, self.names, top_k, frame.pixels[None])

        return predictions()

    def _follower(self) -> Streams:
        """What follows streams; it is kept."""
        check_paddle(needed=self._trained.deployment is None)
        with self._one_at_a_time:
            if self._streams is None:
                job = (self._engine, self._precision, self._use_gpu, self.clip_shape[1:], 1)
                self._streams, _ = open_streams(self._trained.source("infer"), *job)
            return self._streams

    def features(
        self,
        source: Source,
        window_s: float | None = None,
        stride_s: float | None = None,
        normalize: bool = False,
    ) -> Features:
        """The vectors that the network's last layer is given: the mean over a clip's segments of the backbone's pooled
        features for TSN and TSM (D = 2048 with a ResNet-50), the features pooled over time and space for 3-D networks.
        Vectors of similar videos point the same way::

            found = model.features("clips/", normalize=True)
            near = np.argsort(-found.array @ found.array[0])[:5]  # nearest to the first by cosine
            print([found.sources[place] for place in near])

        Args:
            source, window_s, stride_s: as of `predict`, without streams.
            normalize: divides each vector by its length.

        Raises InputError: as `predict`, or the model is a deployment folder, whose programs give probabilities alone.
        """
        check_paddle(needed=False)
        with self._one_at_a_time:
            if self._network is None:
                self._network = open_features(self._trained.source("infer"), self._use_gpu)
            network = self._network
        reader, failures, live = self._open(self._trained, "infer", source, window_s, stride_s)
        if live:
            raise InputError("features are of videos and clips, not of streams")
        arrays, sources, spans = [np.empty((0, network.size), np.float32)], [], []
        with contextlib.closing(reader):
            for batch in reader:
                with self._one_at_a_time:
                    arrays.append(network.features(batch.clips))
                sources += batch.ids
                spans += batch.spans or [None] * len(batch.ids)
        array = np.concatenate(arrays)
        failures = failures_of(reader, failures, source, len(sources))
        return Features(normalized(array) if normalize else array, sources, spans, failures)

    def probabilities(self, clips: np.ndarray) -> np.ndarray:
        """Of clips as the network takes them, uint8 (n, T, 3, H, W), n at most 8 -> float32 (n, classes)."""
        with self._one_at_a_time:
            return self._backend(self._trained, "infer")(clips)

    def streams(self) -> Streams | None:
        """The network with the states of streams, which gives logits of their frames one after the other; None if it
        needs whole clips, as all do but those with MODEL.shift = uni. Raises InputError."""
        return self._follower() if getattr(self.settings.MODEL, "shift", None) == "uni" else None

    def _with_protocol(self, protocol: str) -> Trained:
        weights, flags, given = self._find
        return find_settings(
            weights, {**flags, "TEST": {**flags.get("TEST", {}), "protocol": protocol}}, "test", **given
        )

    def _backend(self, trained: Trained, mode: str) -> Backend:
        """What computes clips of a mode; it is kept."""
        shape = trained.settings.clip_shape(mode)
        check_paddle(needed=trained.deployment is None)
        with self._one_at_a_time:
            if shape not in self._backends:
                most = max(_CLIPS_AT_ONCE, trained.settings.INFER.batch_size)
                job = (self._engine, self._precision, self._use_gpu, most, shape)
                self._backends[shape], _ = open_backend(trained.source(mode), *job)
            return self._backends[shape]

    def _open(
        self, trained: Trained, mode: str, source: Source, window_s: float | None, stride_s: float | None
    ) -> tuple[Reader, list[Failed], bool]:
        """What reads the source; what cannot be found of it; whether it is live."""
        clips, inputs, failures = sort_source(source)
        if stride_s is not None and window_s is None:
            raise InputError("stride_s is of window_s, which is missing")
        windows = None if window_s is None else Windows(window_s, window_s if stride_s is None else stride_s)
        transform = MODELS.get(trained.settings.MODEL.name).eval_transform
        if clips is not None:
            if windows and clips:
                raise InputError("window_s is of videos with times, which arrays have not")
            return ArrayReader(trained.settings, mode, transform, clips), failures, False
        settings = replace(trained.settings, MODEL=replace(trained.settings.MODEL, format="mp4"))
        reader = open_input(settings, inputs, windows, mode=mode)
        return reader, failures, isinstance(reader, StreamReader)

    def _predict(self, trained: Trained, mode: str, reader: Reader, top_k: int, keep: bool) -> Iterator[Prediction]:
        """The predictions, as they come.

        Args:
            keep: whether they stay, so that the frames that they keep are limited.
        """
        backend, left = self._backend(trained, mode), _FRAMES_BYTES
        with contextlib.closing(reader):
            for batch in reader:
                with self._one_at_a_time:
                    rows = _probabilities(backend, trained.settings, mode, batch)
                clips, ids = batch.clips[:: batch.views], batch.ids[:: batch.views]
                for source, span, row, clip in zip(ids, batch.spans or [None] * len(ids), rows, clips):
                    left -= clip.nbytes if keep else 0
                    frames = clip.copy() if left >= 0 else None
                    yield make_prediction(source, span, row, self.names, top_k, frames)
        if not keep:
            reader.check_failures()


def _probabilities(backend: Backend, settings: Config, mode: str, batch: Batch) -> np.ndarray:
    """float32 (videos, classes); views are averaged as the protocol says."""
    if mode == "infer":
        return backend(batch.clips)
    protocol = protocol_of(settings)
    logits = VideoLogits(backend.logits, protocol.average, steps_of(_CLIPS_AT_ONCE, protocol.views))(batch)
    return np.exp(log_softmax(logits)).astype(np.float32)
