"""Every page that a notebook shows: safe whatever is in it, the same everywhere, and one representation of the two."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from recorded import HOSTILE, OTHER, agent, hostile, large, trace, traces

from langgraph_observe.explore import html
from langgraph_observe.payloads import Payload

VIEWS = {
    "trace": trace,
    "graph": lambda one: trace(one).graph(),
    "messages": lambda one: trace(one).messages(),
    "run": lambda one: next(run for run in trace(one) if run.kind == "model"),
    "diff": lambda one: trace(one).diff(trace(agent(OTHER))),
    "traces": traces,
    "overview": lambda one: traces(one).overview(),
    "outcomes": lambda one: traces(one).outcomes(),
    "latency": lambda one: traces(one).latency(),
    "spending": lambda one: traces(one).spending(),
}
KEPT = frozenset(
    [
        "background",
        "border",
        "border-bottom",
        "border-collapse",
        "border-left",
        "border-radius",
        "color",
        "column-gap",
        "cursor",
        "display",
        "font-family",
        "font-size",
        "font-weight",
        "grid-template-columns",
        "height",
        "letter-spacing",
        "line-height",
        "margin",
        "margin-bottom",
        "margin-left",
        "margin-right",
        "margin-top",
        "max-height",
        "max-width",
        "min-width",
        "opacity",
        "overflow",
        "overflow-wrap",
        "padding",
        "padding-left",
        "text-align",
        "text-overflow",
        "text-transform",
        "vertical-align",
        "white-space",
        "width",
    ]
)
"""Of the properties that JupyterLab 4.6's sanitizer keeps, those in use here. Its patterns of their values: tests/explore/test_jupyterlab.py."""


class Page(HTMLParser):
    """Reads a page, and remembers what of it could do harm."""

    def __init__(self, page):
        super().__init__()
        self.open, self.styles, self.pictures, self.tags, self.attributes = [], [], [], set(), set()
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag != "img":
            self.open.append(tag)
        for name, value in attributes:
            self.attributes.add(name)
            if name == "style":
                self.styles.append(value)
            if name == "src":
                self.pictures.append(base64.b64decode(value.removeprefix("data:image/svg+xml;base64,"), validate=True).decode())

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check(page):
    read = Page(page)
    assert read.tags <= html.TAGS | html.TABLES
    assert read.attributes <= html.HTML_ATTRIBUTES
    for style in read.styles:
        assert not re.search(r"var\(|url\(|expression|[<>]", style)
        assert {declaration.split(":")[0] for declaration in style.split(";")} <= KEPT
    for picture in read.pictures:
        shapes = list(ET.fromstring(picture).iter())
        assert {shape.tag.rpartition("}")[2] for shape in shapes} <= html.SHAPES
        assert not {name for shape in shapes for name in shape.attrib if name.startswith("on") or "href" in name}


@pytest.mark.parametrize("view", VIEWS)
def test_a_page_is_well_formed_and_loads_and_runs_nothing(view):
    check(VIEWS[view](agent())._repr_html_())


@pytest.mark.parametrize("view", VIEWS)
def test_what_means_harm_is_shown_as_text(view):
    page = VIEWS[view](hostile())._repr_html_()
    check(page)
    assert not {"\x1b", "\u202e", "\u200b", "\x00", "\ud800"} & set(page)
    assert "&lt;script" in page or view in {"outcomes", "spending"}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(st.characters(exclude_categories=()), min_size=1, max_size=30))
@example(HOSTILE)
@example("]]>")
def test_no_text_breaks_any_page(text):
    for view in VIEWS.values():
        check(view(hostile(text))._repr_html_())


class Stripped(HTMLParser):
    """What is seen where styles are taken away and `hidden` is kept, as GitHub does."""

    def __init__(self, page):
        super().__init__()
        self.hidden, self.seen = 0, []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag != "img" and (self.hidden or "hidden" in dict(attributes)):
            self.hidden += 1

    def handle_endtag(self, tag):
        self.hidden = max(self.hidden - 1, 0)

    def handle_data(self, data):
        if not self.hidden:
            self.seen.append(data)


@pytest.mark.parametrize("view", VIEWS)
def test_without_styles_the_plain_text_is_seen_and_nothing_else(view):
    shown = VIEWS[view](agent())
    plain = repr(shown) if view != "run" else str(shown)
    assert "".join(Stripped(shown._repr_html_()).seen) == plain


@pytest.mark.parametrize("view", VIEWS)
def test_with_styles_the_plain_text_is_not_seen(view):
    assert re.match(r'<div><pre style="display:none">', VIEWS[view](agent())._repr_html_())


@pytest.mark.parametrize("view", VIEWS)
def test_a_page_of_five_thousand_runs_is_small(view):
    assert len(VIEWS[view](large())._repr_html_().encode()) < 300_000
    assert len(repr(VIEWS[view](large()))) < 60_000


@pytest.mark.parametrize("view", VIEWS)
def test_a_run_that_goes_on_is_shown_too(view):
    going = [record.run for record in agent() if hasattr(record, "outcome")]
    check(VIEWS[view](going)._repr_html_())


def test_no_traces_and_a_broken_source_are_said_as_text():
    assert "no traces in memory" in traces()._repr_html_()
    broken = traces(agent())
    broken.before = lambda: 1 / 0
    assert "ZeroDivisionError" in broken._repr_html_()


def test_a_page_of_large_outputs_that_all_differ_is_small():
    other = [replace(one, output=Payload("z\n" * 5_000)) for one in large(1_000)]
    assert len(trace(large(1_000)).diff(trace(other))._repr_html_().encode()) < 300_000
