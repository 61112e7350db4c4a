"""Reading PyTorch's checkpoints, of which nothing is executed. PyTorch is imported when one is read."""

from __future__ import annotations

import os
import re
import shlex
import warnings
import zipfile
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from video_zoo.utils.archives import MOST_BYTES
from video_zoo.utils.errors import InputError
from video_zoo.utils.open_files import open_regular

if TYPE_CHECKING:
    import torch
# The build for CPUs; that of PyPI, for Linux, brings CUDA along.
INSTALL_TORCH = "pip install torch --index-url https://download.pytorch.org/whl/cpu"


def import_torch(why: str) -> Any:
    """The module `torch`. Raises InputError, with what it is for, if it is not installed."""
    try:
        import torch
    except ImportError as error:
        raise InputError(f"{why} takes PyTorch, which nothing else here needs: {INSTALL_TORCH} ({error})") from error
    return torch


def read_pth(path: str) -> dict[str, np.ndarray]:
    """The weights of a PyTorch checkpoint: its `state_dict`, or all of it. Floats become float32.

    Raises InputError if PyTorch is not installed, or the file is none, damaged, or holds more than data.
    """
    torch = import_torch(f"reading {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_regular(path, MOST_BYTES) as file:
                size = os.fstat(file.fileno()).st_size
                _check_zip(file, size)
                content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # a damaged pickle raises almost anything
        raise InputError(_why_unread(path, str(error))) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    if not isinstance(state, dict) or not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        found = (
            f"its keys are {', '.join(map(str, list(content)[:5]))}" if isinstance(content, dict) else "it is no dict"
        )
        raise InputError(f"{path} holds no weights where they are looked for, in `state_dict` or at the top: {found}")
    if sum(tensor.numel() * tensor.element_size() for tensor in state.values()) > size:
        raise InputError(f"{path} is damaged: its tensors are larger than the file")
    try:
        return {str(name): _to_numpy(tensor.detach()) for name, tensor in state.items()}
    except (RuntimeError, TypeError) as error:
        raise InputError(f"{path} holds tensors that are no plain arrays: {_first_line(str(error))}") from error


def _check_zip(file: IO[bytes], size: int) -> None:
    """PyTorch stores tensors as they are; whatever is compressed may be of any size. Raises ValueError."""
    if zipfile.is_zipfile(file):
        unpacked = sum(entry.file_size for entry in zipfile.ZipFile(file).infolist())
        if unpacked > size:
            raise ValueError(f"its {size:,} bytes unpack to {unpacked:,}")
    file.seek(0)


def _to_numpy(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()  # numpy has no bfloat16


def _why_unread(path: str, error: str) -> str:
    code = re.search(r"(?:GLOBAL|class) ([\w.]+)", error)
    if not code or "nsupported" not in error:
        reason = re.search("WeightsUnpickler error: (.*)", error)
        reason = _first_line(reason[1] if reason else error)
        advice = "weights_only" in reason or reason.startswith("Weights only")  # on how to run code all the same
        return f"{path} is no PyTorch checkpoint, or is damaged{'' if advice else f': {reason}'}"
    plain = f"{os.path.splitext(path)[0]}.plain.pth"
    save = f"import torch; torch.save(torch.load({path!r}, weights_only=False)['state_dict'], {plain!r})"
    return (
        f"{path} holds more than weights: it names code, {code[1]}, which is never run here. If you trust the file,"
        f" write its weights alone, where that code is installed: python -c {shlex.quote(save)}"
    )


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason is given"])[0][:200]
