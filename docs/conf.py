"""How Sphinx makes the site of the documents: English, or with the tag `cn` Chinese. scripts/build_docs.sh makes both.

The sources are the repository's own Markdown files, so links work both on the site and where the repository is shown.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.search import languages
from sphinx.search.zh import SearchChinese

ROOT = Path(__file__).resolve().parents[1]
CHINESE = tags.has("cn")  # noqa: F821 - Sphinx defines `tags`
END = "_cn" if CHINESE else ""
FIRST = [
    *("install", "commands", "data", "train", "evaluation", "protocols"),
    *("infer", "python", "online", "demo", "review", "deploy", "networks", "weights", "reader"),
]
IDEOGRAPH = "[\u3001-\u9fff\uff01-\uffee]"  # or Chinese punctuation
ENGLISH_ALONE = ["benchmark/RESULTS.md", "CONTRIBUTING.md", "CHANGELOG.md"]

project = "PaddlePaddle 视频分类" if CHINESE else "Video classification on PaddlePaddle"
language = "zh_CN" if CHINESE else "en"
root_doc = f"README{END}"
extensions = ["myst_parser"]
include_patterns = [f"README{END}.md", f"docs/*{END}.md", *ENGLISH_ALONE]
exclude_patterns = [".*", "build", "dist", "tests", "models"] + ([] if CHINESE else ["**_cn.md"])
myst_heading_anchors = 3
highlight_language = "bash"  # of indented blocks, which are commands
templates_path = ["templates"]

html_theme = "furo"
html_title = project
html_copy_source = html_show_sourcelink = False
html_sidebars = {
    "**": [
        *("sidebar/brand.html", "language.html", "sidebar/search.html", "sidebar/scroll-start.html"),
        *("sidebar/navigation.html", "sidebar/scroll-end.html"),
    ]
}


class ChinesePairs(SearchChinese):
    """Finds Chinese by pairs of neighbouring characters; Sphinx's own way needs a dictionary of 19 MB.

    The words of other scripts are found as everywhere. A page is found that has all pairs of what is searched for.
    """

    language_name = "English"  # whose stemmer the browser is given; it is called by this name
    js_splitter_code = """
var splitQuery = (query) => (query.match(/[\\u4e00-\\u9fff]+|[a-zA-Z0-9_]+/g) || []).flatMap((run) =>
  run < "\\u4e00" || run.length === 1 ? [run] : [...run.slice(1)].map((_, number) => run.slice(number, number + 2)));
"""

    def split(self, input: str) -> list[str]:
        """The pairs of each run of Chinese characters, and the words of other scripts."""
        runs = re.findall(r"[\u4e00-\u9fff]{2,}", input)
        return [run[number : number + 2] for run in runs for number in range(len(run) - 1)] + super().split(input)


def prepare(app: Sphinx, name: str, source: list[str]) -> None:
    """The language is chosen in the margin, not by a link at the head of a page; links stay in it; the README leads to
    all pages."""
    source[0] = re.sub(r"^\[(中文|English)\]\([\w/]+\.md\)\n", "", source[0], count=1, flags=re.MULTILINE)
    source[0] = re.sub(f"({IDEOGRAPH})\n {{0,3}}(?={IDEOGRAPH})", r"\1", source[0])  # a line's end is no space there
    if CHINESE and f"{name}.md" in ENGLISH_ALONE:
        source[0] = re.sub(r"(\]\((?:\.\./)?(?:docs/\w+|README))\.md\b", r"\1_cn.md", source[0])
    if name == root_doc:
        first = [f"docs/{page}{END}" for page in FIRST]
        others = sorted(page for page in app.env.found_docs if page.startswith("docs/") and page not in first)
        pages = [*first, *others, *(page[: -len(".md")] for page in ENGLISH_ALONE)]
        source[0] += "\n".join(["", "```{toctree}", ":hidden:", "", *pages, "```", ""])


def add_other_language(app: Sphinx, name: str, template: str, context: dict, *_: object) -> None:
    """Gives the templates the address of the page in the other language; without one, of that language's first page."""
    other = f"{name.removesuffix('_cn')}{'' if CHINESE else '_cn'}"
    if not (ROOT / f"{other}.md").exists():
        other = name if f"{name}.md" in ENGLISH_ALONE else f"README{'' if CHINESE else '_cn'}"
    context["other_language_name"] = "English" if CHINESE else "中文"
    context["other_language"] = f"{context['content_root']}../{'en' if CHINESE else 'zh'}/{other}.html"


def setup(app: Sphinx) -> None:
    """Sphinx's entry."""
    languages["zh"] = ChinesePairs
    app.connect("source-read", prepare)
    app.connect("html-page-context", add_other_language)
