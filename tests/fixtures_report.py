"""Reads reports as a browser does: elements, texts, figures and pictures."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

#: What a name may hold whose author means harm.
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;{{ 7*7 }}"

#: Elements that have no end.
VOID = {"img", "input", "link", "meta", "br", "hr"}


@dataclass
class Element:
    """An element with what lies in it."""

    tag: str
    attributes: dict[str, str | None] = field(default_factory=dict)
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text within, with single spaces."""
        parts = (c if isinstance(c, str) else c.text for c in self.children)
        return " ".join("".join(parts).split())

    def all(self, tag: str = "", name: str = "") -> list[Element]:
        """Elements within, of a tag and of a class, in their order."""
        found = []
        for child in self.children:
            if isinstance(child, str):
                continue
            classes = (child.attributes.get("class") or "").split()
            if tag in ("", child.tag) and (not name or name in classes):
                found.append(child)
            found += child.all(tag, name)
        return found

    def one(self, tag: str = "", name: str = "") -> Element:
        """The first of ``all``."""
        return self.all(tag, name)[0]


class Reader(HTMLParser):
    """Builds the tree of a page, whose elements must all be closed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.stack = [Element("")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.stack[-1].children.append(element)
        if tag not in VOID:
            self.stack.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.stack[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.stack[-1].children.append(data)


def read(path: Path | str) -> Element:
    """Read a report."""
    return parse(Path(path).read_text(encoding="utf-8"))


def parse(text: str) -> Element:
    """Read the text of a report."""
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert len(reader.stack) == 1, f"not closed: {reader.stack[-1].tag}"
    return reader.stack[0]


def tables(page: Element) -> dict[str, list[list[str | float]]]:
    """Rows of every table by its caption: texts, and figures as they were before rounding."""
    return {
        table.one("caption").text: [
            [_cell(cell) for cell in row.all() if cell.tag in ("th", "td")]
            for row in table.one("tbody").all("tr")
        ]
        for table in page.all("table")
    }


def _cell(cell: Element) -> str | float:
    data = cell.all("data")
    return float(data[0].attributes["value"]) if data else cell.text


def pictures(page: Element) -> list[dict[str, Image.Image]]:
    """The pictures of every comparison by their names."""
    return [
        {
            button.one(name="name").text: _picture(button.one("img").attributes["src"])
            for button in figure.all("button")
        }
        for figure in page.all("figure", "comparison")
    ]


def _picture(address: str | None) -> Image.Image:
    head, _, data = (address or "").partition(";base64,")
    assert head in ("data:image/png", "data:image/jpeg")
    return Image.open(io.BytesIO(base64.b64decode(data)))
