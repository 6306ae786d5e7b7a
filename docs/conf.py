"""How ``make docs`` makes a site of these pages, with Sphinx and MyST.

The pages are Markdown that reads well in the repository, and hold nothing for the generator but the API reference.
What a site needs besides is put in while they are read:

- The sidebar has the pages in the order of the lists in README.md of this folder. A test wants each page there, so
  none is forgotten.
- A link to a folder becomes its name: the site has pages and files only.
- A name in the text, ``<a id="..."></a>``, becomes a target of MyST, so that links to it are checked like all others:
  a link that leads nowhere ends the build.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]

project = "fullduplex"
copyright = "the authors of fullduplex"
release = re.findall(r'"(.+)"', (ROOT / "src/fullduplex/_version.py").read_text())[0]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "docs/**/*.md", "src/**/*.md", "examples/*/*.md", "tests/vectors/*/*.md"]

html_theme = "furo"
html_title = f"fullduplex {release}"
html_copy_source = False

myst_heading_anchors = 4  # pages link to headings by the names that GitHub gives them
myst_enable_extensions = ["attrs_inline"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
suppress_warnings = ["misc.highlighting_failure"]  # languages of snippets that no lexer knows

_FENCED = re.compile(r"^```.*?^```", re.M | re.S)
_NAMED = re.compile(r'^<a id="([^"]+)"></a>', re.M)
_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def linked_pages(text: str, folder: Path) -> list[str]:
    """The pages that a text leads to, in order, as Sphinx names them: relative to the root, without ``.md``."""
    names = {}
    for _, target, _ in _LINK.findall(_FENCED.sub("", text)):
        path = (folder / target).resolve()
        if path.suffix == ".md" and path.is_relative_to(ROOT):
            names[path.relative_to(ROOT).with_suffix("").as_posix()] = None
    return [*names]


def sidebar(caption: str, names: list[str]) -> str:
    options = [":hidden:", f":caption: {caption}"] if caption else [":hidden:"]
    return "\n".join(["", "```{toctree}", *options, "", *(f"/{name}" for name in names), "```", ""])


def of_index(text: str) -> str:
    """A part of the sidebar for each list of docs/README.md; each list stands below a bold word."""
    parts = re.split(r"^\*\*(\w+)\*\*", text, flags=re.M)[1:]
    seen: set[str] = set()
    shown = ""
    for caption, part in zip(parts[::2], parts[1::2], strict=True):
        names = [name for name in linked_pages(part, ROOT / "docs") if name not in seen]
        seen.update(names)
        shown += sidebar(caption, names)
    return shown


def as_site(app: Sphinx, name: str, source: list[str]) -> None:
    """Put into a page what the site needs."""
    text = source[0]
    folder = (ROOT / name).parent

    def without_folders(link: re.Match[str]) -> str:
        return link[1] if (folder / link[2]).is_dir() else link[0]

    text = _NAMED.sub(r"(\1)=", _LINK.sub(without_folders, text))
    if name == "README":
        text += sidebar("", ["docs/README", "CHANGELOG", "CONTRIBUTING", "SECURITY"])
        text += of_index((ROOT / "docs/README.md").read_text())
    if name == "docs/internals/README":
        pages = linked_pages(source[0], folder)
        text += sidebar("", [page for page in pages if page.startswith("docs/internals/") and page != name])
    if name.startswith(("src/", "tests/")):  # told of by the pages of the inside, and in no list
        text = f"---\norphan: true\n---\n{text}"
    source[0] = text


def begin_at_readme(app: Sphinx, failure: Exception | None) -> None:
    if failure is None and app.builder.name == "html":
        (Path(app.outdir) / "index.html").write_text('<meta http-equiv="refresh" content="0; url=README.html">\n')


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", as_site)
    app.connect("build-finished", begin_at_readme)
    return {"parallel_read_safe": True}
