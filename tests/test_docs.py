"""The documents: links, commands and figures are right, in both languages alike, and they make a site."""

from __future__ import annotations

import argparse
import functools
import importlib.util
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsers import open_browser

from video_zoo.utils import cli

ROOT = Path(__file__).resolve().parents[1]
PAIRED = sorted({path.name.replace("_cn", "") for path in ROOT.glob("docs/*.md")})
PAIRS = [("README.md", "README_cn.md"), *((f"docs/{name}", f"docs/{name[:-3]}_cn.md") for name in PAIRED)]
ALONE = ["CONTRIBUTING.md", "CHANGELOG.md", "benchmark/RESULTS.md"]
ALL = [name for pair in PAIRS for name in pair] + ALONE


def read(name: str) -> str:
    path = ROOT / name
    assert path.is_file(), f"there is no {name}: a document has both languages"
    return path.read_text(encoding="utf-8")


def code_of(text: str) -> list[str]:
    """The blocks of code: indented ones, and fenced ones without their fences."""
    fenced = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    indented = re.findall(r"(?:^|\n\n)((?: {4}[^\n]*\n)+)", prose_of(text, indented=True))
    return fenced + [re.sub("^ {4}", "", block, flags=re.MULTILINE) for block in indented]


def prose_of(text: str, indented: bool = False) -> str:
    """All but the blocks of code."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return text if indented else re.sub(r"^ {4}.*$", "", text, flags=re.MULTILINE)


def headings_of(text: str) -> list[tuple[int, str]]:
    """Their levels and texts."""
    return [(len(marks), title) for marks, title in re.findall(r"^(#+) (.*)$", prose_of(text), re.MULTILINE)]


@functools.cache
def anchors_of(name: str) -> set[str]:
    """What a link into a document may end with: as GitHub makes it of the headings, and MyST likewise."""
    slugs = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for _, title in headings_of(read(name))]
    earlier = [slugs[:number].count(slug) for number, slug in enumerate(slugs)]
    return {f"{slug}-{count}" if count else slug for slug, count in zip(slugs, earlier)}


@pytest.mark.parametrize("name", ALL)
def test_links_lead_somewhere(name):
    prose = re.sub(r"`[^`]*`", "", prose_of(read(name)))
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        place = (ROOT / name).parent / file if file else ROOT / name
        assert place.exists(), f"{name} links to {target}, and there is no such file"
        if anchor:
            page = place.resolve().relative_to(ROOT).as_posix()
            assert anchor in anchors_of(page), f"{name} links to {target}, and {page} has no such heading"


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0])
def test_both_languages_say_the_same(pair):
    """Headings of the same levels, the same commands and pictures, and tables of the same size."""
    english, chinese = map(read, pair)
    levels = [[level for level, _ in headings_of(text)] for text in (english, chinese)]
    assert levels[0] == levels[1], "the headings differ"
    assert list(commands_of(english)) == list(commands_of(chinese)), "the commands differ"
    pictures = [re.findall(r"!\[.*?\]\((.*?)\)", text) for text in (english, chinese)]
    assert pictures[0] == pictures[1], "the pictures differ"
    rows = [[line.count(" | ") for line in text.splitlines() if line.startswith("|")] for text in (english, chinese)]
    assert rows[0] == rows[1], "the tables differ"


@pytest.mark.parametrize("name", [chinese for _, chinese in PAIRS])
def test_chinese_has_its_own_punctuation(name):
    """No comma, colon, semicolon, question mark or bracket of Latin script stands beside a Chinese character."""
    prose = re.sub(r"`[^`]*`|\]\([^)]*\)|<!--.*?-->", "", prose_of(read(name)))
    chinese = "[\u4e00-\u9fff]"
    for line in prose.replace("ln(类别数)", "").splitlines():
        assert not re.search(f"{chinese}[*]*[,:;?()]|[,:;?()][*]*{chinese}", line), line


@pytest.mark.parametrize("name", ALL)
def test_scripts_are_there(name):
    for script in re.findall(r"\bbash (scripts/[\w/]+\.sh)", read(name)):
        assert (ROOT / script).is_file(), f"{name} says bash {script}"


def commands_of(text: str) -> Iterator[str]:
    """`python ...` lines of the code, without comments; those in another folder begin with its name."""
    for block in code_of(text):
        folder = ""
        for line in block.replace("\\\n", " ").splitlines():
            line = re.sub(r"\s+#.*", "", line)
            if line.startswith("cd "):
                folder = f"{line[3:]}/"
            elif match := re.match(r"python (?:-m paddle.distributed.launch (?:--\S+ )*)?([\w/]+\.py.*)", line):
                yield folder + match[1]
            elif match := re.match(r"python -m video_zoo\.(\w+)(.*)", line):
                yield f"{match[1]}.py{match[2]}"


class Parsed(Exception):
    """Raised where a command would begin to work."""


@functools.cache
def main_of(script: str):
    """The script's main(), if it has a parser."""
    path = ROOT / script
    assert path.is_file(), f"there is no {script}"
    return runpy.run_path(str(path), run_name="documented")["main"] if "Parser(" in path.read_text() else None


@pytest.fixture
def only_parse(monkeypatch):
    """Commands end where their flags have been parsed."""

    def ending(parse):
        def parse_and_end(parser, *words):
            parse(parser, *words)
            raise Parsed

        return parse_and_end

    for kind in (cli.Parser, argparse.ArgumentParser):
        monkeypatch.setattr(kind, "parse_args", ending(kind.parse_args))


PARSED = [name for name in ALL if name not in ALONE[1:] and "adding_" not in name]  # test_adding.py runs those


@pytest.mark.parametrize("name", PARSED)
def test_commands_parse(name, only_parse, monkeypatch, capsys):
    """With the commands' own parsers: each flag is there, and takes what it is given."""
    for command in commands_of(read(name)):
        script, *words = shlex.split(command)
        main = main_of(script)
        if main is None:
            continue
        monkeypatch.setattr(sys, "argv", [script, *words])
        try:
            main()
            raise AssertionError(f"{script} has not parsed its flags")
        except Parsed:
            pass
        except SystemExit as end:  # --help and the like end with 0
            assert not end.code, f"{name}: python {command}\n{capsys.readouterr().err}"


def figures():
    spec = importlib.util.spec_from_file_location("figures", ROOT / "docs" / "figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_figures_are_those_of_the_results():
    script = figures()
    tables = script.tables_of(read("benchmark/RESULTS.md"))
    for path in script.documents():
        text = path.read_text(encoding="utf-8")
        assert script.filled(text, tables) == text, f"{path.name}: mend it with `{script.COMMAND}`"


RESULTS = """
<!-- table: speed -->

| | ms | x |
| --- | --- | --- |
| ours: fast fp32 | 12.5 | 2.0 (1.5 to 2.5) |
| slow, one | 25 | 1 |
"""
PAGE = """text
<!-- results: | | speed: x | | speed: ms | -->

| 引擎 | a | b | c |
|---|---|---|---|
| `fast`，`fp32` | 9 | 自己的 | 9 |
| 慢 <!-- slow, one --> | | own | 9 |

<!-- /results -->
"""


def test_figures_are_filled_and_the_rest_stays():
    script = figures()
    page = script.filled(PAGE, script.tables_of(RESULTS))
    assert "| `fast`，`fp32` | 2.0 (1.5–2.5) | 自己的 | 12.5 |\n| 慢 <!-- slow, one --> | 1 | own | 25 |\n" in page
    assert script.filled(page, script.tables_of(RESULTS)) == page


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("speed: x", "speed: y", "speed: y.*no 'y'"),
        ("speed: x", "spied: x", "no 'spied'"),
        ("fp32", "fp64", "row .*fp64"),
        ("\n<!-- /results -->", "", "not"),
    ],
)
def test_a_figure_that_is_not_there_is_said(old, new, said):
    script = figures()
    with pytest.raises(script.FiguresError, match=said):
        script.filled(PAGE.replace(old, new), script.tables_of(RESULTS))


@pytest.fixture(scope="module", params=["en", "cn"])
def site(request, tmp_path_factory) -> tuple[str, Path]:
    """The language's tag, and the folder of its site, which is built without a warning."""
    for package in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(package, reason="requirements/docs.txt")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs", "-t", request.param, "."]
    done = subprocess.run([*command, str(folder)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return request.param, folder


def test_the_site_leads_to_its_pages_and_needs_no_network(site):
    tag, folder = site
    page = (folder / ("README_cn.html" if tag == "cn" else "README.html")).read_text(encoding="utf-8")
    assert ("docs/train_cn.html" if tag == "cn" else "docs/train.html") in page
    assert ("../en/README.html" if tag == "cn" else "../zh/README_cn.html") in page
    assert not re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(?:https?:)?//', page)


@pytest.mark.parametrize("site", ["cn"], indirect=True)
def test_chinese_is_found_without_a_server(site):
    with open_browser() as browser:
        page = browser.new_page()
        page.goto(f"{(site[1] / 'search.html').as_uri()}?q=学习率")
        found = page.locator("#search-results li a")
        found.first.wait_for(timeout=20_000)
        assert "训练" in found.all_inner_texts()
