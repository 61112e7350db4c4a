"""HTML documents in one file, which need nothing from elsewhere: the pages of an evaluation and of a comparison."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from video_zoo.engine.page import BAR_STYLE, BASE_STYLE
from video_zoo.utils.texts import html, one_line

_PARTS = Path(__file__).with_name("html")  # styles and scripts

# Nothing is fetched, and no other script runs, whatever a name may hold.
_HEAD = """\
<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline';
 script-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
<h1>{title}</h1>
"""

# What Window of page.js fills.
_WINDOW = """<dialog aria-labelledby="window_title"><form method="dialog"><button>Close</button></form>
<h2 id="window_title"></h2><div class="tools"><input type="search" placeholder="Filter" aria-label="Filter the videos">
<span class="soft" role="status"></span></div><div class="list"></div></dialog>
"""


def document(title: str, body: Iterable[str], data: Any, *scripts: str) -> str:
    """A page: its heading, its body, a window that lists videos, its data and its scripts.

    Args:
        title: text.
        body: HTML.
        data: JSON-able and finite; the scripts have it as DATA. `ids` and `prefix` of `shorten` are the videos' names.
        scripts: files of engine/html, which come after elements.js and page.js.
    """
    code = "\n".join(read_part(name) for name in ("elements.js", "page.js", *scripts))
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    text = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    style = BAR_STYLE + BASE_STYLE + read_part("page.css")
    head = _HEAD.format(title=markup(title), style=style, hash=digest)
    kept = f'<script type="application/json" id="data">{text}</script>\n'
    return "".join([head, *body, _WINDOW, kept, f"<script>{code}</script>\n</html>\n"])


def plain(text: str) -> str:
    """Text of a file for the data of a page: one line, without control characters; bytes that are no text escaped."""
    return one_line(text).encode("utf-8", "backslashreplace").decode()


def markup(text: str) -> str:
    """`plain` for HTML."""
    return html(plain(text))


def shorten(names: Sequence[str]) -> dict[str, Any]:
    """Names as a page's data has them: {"prefix": how all of them begin, "ids": the rest of each}."""
    names = [plain(name) for name in names]
    first, last = (min(names), max(names)) if names else ("", "")
    prefix = first[: next((i for i, (a, b) in enumerate(zip(first, last)) if a != b), min(len(first), len(last)))]
    return {"prefix": prefix, "ids": [name[len(prefix) :] for name in names]}


def section(title: str, *parts: str, name: str = "") -> str:
    """A part of a page below a heading of its own, which is HTML, as its parts are."""
    mark = f' id="{name}"' if name else ""
    return f"<section{mark}><h2>{title}</h2>\n" + "\n".join(parts) + "</section>\n"


def side_by_side(*sections: str) -> str:
    """Sections that stand beside each other where there is room."""
    return f'<div class="two">{"".join(sections)}</div>\n'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], text: bool = False) -> str:
    """A table of cells of HTML, of which the first of each row heads it: numbers, or else text."""
    cells = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    lines = [f"<tr>{cells}</tr>"]
    for first, *rest in rows:
        lines.append(f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in rest) + "</tr>")
    kind = ' class="text"' if text else ""
    return f'<div class="wide"><table{kind}>' + "\n".join(lines) + "</table></div>"


def facts_list(facts: Iterable[tuple[str, str]]) -> str:
    """Pairs of a term and what it is, HTML; those without the latter are left out."""
    rows = (f"<dt>{term}</dt><dd>{said}</dd>" for term, said in facts if said)
    return "<dl>" + "\n".join(rows) + "</dl>"


def listing(label: str, choices: Mapping[str, str] | None = None, choice_label: str = "") -> str:
    """What a FilteredList of page.js fills.

    Args:
        label: what its box for words does.
        choices: of a menu beside the box, value -> text.
    """
    options = "".join(f'<option value="{value}">{text}</option>' for value, text in (choices or {}).items())
    menu = f'<select aria-label="{choice_label}">{options}</select>' if choices else ""
    box = f'<input type="search" placeholder="Filter" aria-label="{label}">'
    return f'<div class="tools">{box}{menu}<span class="soft" role="status"></span></div><div class="list"></div>'


def folded_listing(name: str, summary: str, count: int, most: int, file: str) -> str:
    """`listing` of `count` rows below a line that opens it; nothing without rows. Of more than `most`, it says that
    the page has no more, and which file has all."""
    if not count:
        return ""
    more = f"<p>The first {most:,}; {file} has all.</p>" if count > most else ""
    opened = " open" if count <= 5 else ""
    return f'<details id="{name}"{opened}><summary>{summary}</summary>{more}{listing("Filter")}</details>'


def isolated(text: str) -> str:
    """A name from a file, which may run from right to left, as HTML."""
    return f'<bdi dir="auto">{markup(text)}</bdi>'


def signed(value: float) -> str:
    """A difference, as +0.0123."""
    return f"{value:+.4f}".replace("-", "\u2212")


def counted(count: int, noun: str) -> str:
    """As "1,234 videos"."""
    plural = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return f"{count:,} {noun}{plural}"


def percent(share: float) -> str:
    """A share, 0 to 1, as 12.3%; a dash if it is none."""
    return f"{share:.1%}" if math.isfinite(share) else "\u2013"


def finite(value: float, form: str = ".4f") -> str:
    """A number by its format; a dash if it is not finite."""
    return format(value, form) if math.isfinite(value) else "\u2013"


def read_part(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")
