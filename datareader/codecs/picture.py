"""What a compressed packet says of its picture."""

from __future__ import annotations

from typing import Callable, NamedTuple


class Unclear(Exception):
    """The packet is not one shown picture that its standard describes plainly; the message says why."""


class Malformed(Unclear):
    """The packet is not what the standard allows; it may be damaged."""


class Picture(NamedTuple):
    """What a packet's picture is to the others.

    start: no picture at or after it, in the order of presentation, needs anything that was sent before it.
    needed: pictures of its own layer may refer to it.
    order: grows in the order of presentation, as the stream itself has it. None: pictures are shown as they are sent.
    layer: temporal layer; pictures of higher layers may refer to it even if it is not `needed`.
    parameters: a bit for each kind of parameter set that the packet carries; later packets may need them.
    """

    start: bool
    needed: bool
    order: tuple[int, int] | None = None
    layer: int = 0
    parameters: int = 0


Describe = Callable[[bytes], Picture]  # a packet, in the order of the file -> its picture; raises Unclear
