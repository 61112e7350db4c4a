"""Fills the figures of the documents from the tables of benchmark/RESULTS.md, in every language alike.

    python docs/figures.py          (--check: changes nothing, and says what would change)

A table in RESULTS.md has a name, in a comment before it: `<!-- table: engines -->`. A table of a document that shows
figures stands in a block, whose first line says, column by column, which of them; the other columns are the page's own:

    <!-- results: | | engines: ms | engines: clips/s | | -->

    | engine | ms | clips a second | to have it |
    |---|---|---|---|
    | `openvino`, `fp32` | 200.5 | 4.99 | in requirements.txt |

    <!-- /results -->

Rows belong together whose first cells have the same words; where a language has others, the first cell ends with those
of RESULTS.md in a comment. A row that RESULTS.md does not have is an error.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmark" / "RESULTS.md"
COMMAND = "python docs/figures.py"

Table = dict[str, dict[str, str]]  # the words of a row's first cell -> a column's title -> a cell

_TABLE = re.compile(r"<!-- table: (?P<name>[\w-]+) -->\n\n(?P<rows>(?:\|.*\n)+)")
_BLOCK = re.compile(r"(<!-- results: (?P<columns>.*) -->\n\n)(?P<rows>(?:\|.*\n)+)(?=\n<!-- /results -->)")
_MARK = re.compile(r"<!-- /?results\b")


class FiguresError(Exception):
    """What is wrong, with the file."""


def tables_of(text: str) -> dict[str, Table]:
    """The named tables of a document like RESULTS.md."""
    tables = {}
    for match in _TABLE.finditer(text):
        titles, _, *rows = map(_cells, match["rows"].splitlines())
        tables[match["name"]] = {_words(row[0]): dict(zip(titles, row)) for row in rows}
    return tables


def filled(text: str, tables: dict[str, Table]) -> str:
    """A document with the figures of the tables in its blocks. Raises FiguresError: a block asks for what is not there,
    or is not closed."""
    if len(_MARK.findall(text)) != 2 * len(_BLOCK.findall(text)):
        raise FiguresError("a block is not `<!-- results: ... -->`, an empty line, a table, an empty line, and its end")
    return _BLOCK.sub(lambda match: match[1] + "".join(_filled_rows(match, tables)), text)


def _filled_rows(match: re.Match[str], tables: dict[str, Table]) -> Iterator[str]:
    sources = [cell.partition(": ")[::2] for cell in _cells(match["columns"])]
    for number, line in enumerate(match["rows"].splitlines()):
        cells = _cells(line)
        if number > 1:  # below the titles and the line under them
            for column, (table, title) in enumerate(sources):
                if table:
                    cells[column] = _figure(tables, table, cells[0], title)
            line = f"| {' | '.join(cells)} |".replace("|  |", "| |")
        yield f"{line}\n"


def _figure(tables: dict[str, Table], table: str, row: str, title: str) -> str:
    try:
        return tables[table][_words(row)][title].replace(" to ", "–")
    except KeyError as error:
        raise FiguresError(f"{table}: {title}, row {row}: {RESULTS.name} has no {error}") from None


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip()[1:-1].split("|")]


def _words(cell: str) -> str:
    """What identifies a row: the words of its first cell, or of the comment in it."""
    comment = re.search(r"<!-- (.*?) -->", cell)
    return " ".join(re.findall(r"[\w.()+/-]+", (comment[1] if comment else cell).lower().replace("ours:", "")))


def documents() -> list[Path]:
    """The documents that may have blocks."""
    return [*ROOT.glob("README*.md"), *sorted(ROOT.glob("docs/*.md"))]


def main() -> int:
    parser = argparse.ArgumentParser(description="Fills the documents' figures from benchmark/RESULTS.md.")
    parser.add_argument("--check", action="store_true", help="changes nothing; exits with 1 if something would change")
    check = parser.parse_args().check
    tables, code = tables_of(RESULTS.read_text(encoding="utf-8")), 0
    for path in documents():
        text = path.read_text(encoding="utf-8")
        try:
            new = filled(text, tables)
        except FiguresError as error:
            print(f"error: {path.relative_to(ROOT)}: {error}", file=sys.stderr)
            code = 1
            continue
        if new != text:
            print(f"{path.relative_to(ROOT)}: {f'not as {RESULTS.name} says: {COMMAND}' if check else 'filled'}")
            if check:
                code = 1
            else:
                path.write_text(new, encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
