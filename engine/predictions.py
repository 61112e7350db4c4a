"""What the Python API gives back: predictions and features, which print, become dicts and pandas frames."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from video_zoo.engine.results import top_classes
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_file
from video_zoo.utils.texts import html, one_line

if TYPE_CHECKING:
    import pandas

_ROWS = 20  # that are printed
_WIDTH = 48  # of a source that is printed, in characters
_BAR = 'style="display:inline-block;height:0.7em;background:#4a8fd4;width:{:.0f}px"'
_BAR_PX = 120


class Failed(NamedTuple):
    """A video that could not be read, and why."""

    source: str
    reason: str


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """The most probable classes of a video, or of a window of it.

    Args:
        source: the path, or the address without its password; "clip 0" is the first of NumPy clips.
        start_s, end_s: of the window, in seconds; None: the whole video.
        classes: (name, probability), the best first, as many as were asked for.
        probabilities: of all classes, float32 (classes,), in the order of the model's `names`.
    """

    source: str
    start_s: float | None
    end_s: float | None
    classes: list[tuple[str, float]]
    probabilities: np.ndarray
    _frames: np.ndarray | None = field(default=None)

    @property
    def label(self) -> str:
        """The name of the most probable class."""
        return self.classes[0][0]

    @property
    def probability(self) -> float:
        """That of the most probable class, 0 to 1."""
        return self.classes[0][1]

    @property
    def frames(self) -> np.ndarray:
        """uint8 RGB (T, H, W, 3) that the network saw, scaled and cropped; of several views, the first one's. Raises
        InputError: they were not kept, as `predict` keeps 256 MB of them."""
        if self._frames is None:
            raise InputError(f"the frames of {self.source} were not kept: predict it by itself, or fewer at once")
        return self._frames.transpose(0, 2, 3, 1)  # (T, 3, H, W) -> (T, H, W, 3)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: {"source", "start_s", "end_s", "label", "probability", "classes": [{"name", "probability"}]}."""
        return {
            "source": self.source,
            "start_s": self.start_s,
            "end_s": self.end_s,
            "label": self.label,
            "probability": self.probability,
            "classes": [{"name": name, "probability": probability} for name, probability in self.classes],
        }

    def __repr__(self) -> str:
        head = f"{one_line(self.source)} {_span(self)}".rstrip()
        return "\n".join([head, *(f"  {100 * share:6.2f}%  {one_line(name)}" for name, share in self.classes)])

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{html(name)}</td><td>{_bar(share)}</td></tr>" for name, share in self.classes)
        return f"<p>{html(self.source)} {_span(self)}</p><table>{rows}</table>"


def make_prediction(
    source: str,
    span: tuple[float, float] | None,
    probabilities: np.ndarray,
    names: Sequence[str],
    top_k: int,
    frames: np.ndarray | None,
) -> Prediction:
    """A prediction of the probabilities (classes,) of a clip.

    Args:
        span: seconds, from and to; None: the whole video.
        frames: uint8 (T, 3, H, W); None: they are not kept.
    """
    top = top_classes(source, probabilities, top_k)
    classes = [(names[index], share) for index, share in zip(top.classes, top.probabilities)]
    return Prediction(source, *(span or (None, None)), classes, probabilities, frames)


class Predictions(Sequence[Prediction]):
    """Predictions in the order of their videos and windows. It prints as a table, also in notebooks.

    Attributes:
        failures: the videos that could not be read, and why.
    """

    def __init__(self, items: Sequence[Prediction], failures: Sequence[Failed] = ()):
        self._items, self.failures = list(items), list(failures)

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self._items)

    @overload
    def __getitem__(self, index: int) -> Prediction: ...

    @overload
    def __getitem__(self, index: slice) -> Predictions: ...

    def __getitem__(self, index: int | slice) -> Prediction | Predictions:
        return Predictions(self._items[index], self.failures) if isinstance(index, slice) else self._items[index]

    def to_dicts(self) -> list[dict[str, Any]]:
        """`Prediction.to_dict` of each."""
        return [each.to_dict() for each in self]

    def to_pandas(self) -> pandas.DataFrame:
        """A row each: source, start_s, end_s, label, probability, label_2, probability_2 ... Raises InputError if
        pandas is not installed."""
        rows = []
        for each in self:
            row = {"source": each.source, "start_s": each.start_s, "end_s": each.end_s}
            for place, (name, share) in enumerate(each.classes, 1):
                end = f"_{place}" if place > 1 else ""
                row.update({f"label{end}": name, f"probability{end}": share})
            rows.append(row)
        return _pandas().DataFrame(rows)

    def __repr__(self) -> str:
        if len(self) == 1 and not self.failures:
            return repr(self[0])
        rows = [(_cut(each.source), _span(each), f"{100 * each.probability:6.2f}%", each.label) for each in self]
        shown = [[one_line(text) for text in row] for row in rows[:_ROWS]]
        widths = [max((len(row[column]) for row in shown), default=0) for column in range(3)]
        lines = ["  ".join([*map(str.ljust, row, widths), row[3]]) for row in shown]
        return "\n".join(lines + self._more()) or "no predictions"

    def _more(self) -> list[str]:
        lines = [f"... and {len(self) - _ROWS} more"] if len(self) > _ROWS else []
        return lines + [f"could not be read: {one_line(f'{each.source}: {each.reason}')}" for each in self.failures]

    def _repr_html_(self) -> str:
        if len(self) == 1 and not self.failures:
            return self[0]._repr_html_()
        cells = ((html(each.source), _span(each), html(each.label), _bar(each.probability)) for each in self[:_ROWS])
        rows = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in cells)
        return f"<table>{rows}</table>" + "".join(f"<p>{html(line)}</p>" for line in self._more())


@dataclass(frozen=True, eq=False, repr=False)
class Features:
    """The network's vectors of videos, or of windows of them.

    Args:
        array: float32 (n, D).
        sources: the path of each.
        spans: (start, end) of each in seconds; None: the whole video.
        failures: the videos that could not be read, and why.
    """

    array: np.ndarray
    sources: list[str]
    spans: list[tuple[float, float] | None]
    failures: list[Failed] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.array, dtype) if copy or dtype is not None else self.array

    def __repr__(self) -> str:
        lines = [f"features {self.array.shape[0]} x {self.array.shape[1]}, {self.array.dtype}"]
        return "\n".join(lines + [f"could not be read: {one_line(': '.join(each))}" for each in self.failures])

    def save(self, path: str | os.PathLike) -> None:
        """Writes an .npz file, which np.load reads: `features` float32 (n, D), `sources`, `start_s` and `end_s`, which
        are NaN for whole videos. Raises InputError if it cannot be written."""
        columns = self.columns()
        times = {name: np.array(columns[name], np.float64) for name in ("start_s", "end_s")}  # None becomes NaN
        with atomic_file(path, "wb") as file:
            np.savez(file, features=self.array, sources=np.array(self.sources, np.str_), **times)

    def to_pandas(self) -> pandas.DataFrame:
        """A row each: source, start_s, end_s, f0, f1 ... Raises InputError if pandas is not installed."""
        frame = _pandas().DataFrame(self.array, columns=[f"f{place}" for place in range(self.array.shape[1])])
        for place, (name, values) in enumerate(self.columns().items()):
            frame.insert(place, name, values)
        return frame

    def columns(self) -> dict[str, list[Any]]:
        """source, start_s and end_s of each, in seconds; None: the whole video."""
        starts, ends = zip(*(span or (None, None) for span in self.spans)) if self.spans else ((), ())
        return {"source": self.sources, "start_s": list(starts), "end_s": list(ends)}


def normalized(array: np.ndarray) -> np.ndarray:
    """Vectors (n, D) of length 1; one of zeros stays."""
    length = np.linalg.norm(array, axis=1, keepdims=True)
    return array / np.where(length > 0, length, 1)


def _span(prediction: Prediction) -> str:
    return "" if prediction.start_s is None else f"{prediction.start_s:.1f}-{prediction.end_s:.1f} s"


def _cut(source: str) -> str:
    return source if len(source) <= _WIDTH else f"...{source[3 - _WIDTH :]}"


def _bar(share: float) -> str:
    return f"<span {_BAR.format(_BAR_PX * share)}></span> {100 * share:.1f}%"


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise InputError(f"to_pandas needs pandas ({error}): pip install pandas") from error
    return pandas
