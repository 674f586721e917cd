"""The building of pages: what is put in comes out as text, and what could do harm cannot be said."""

import html as standard
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_observe.explore import html

ANY = st.text(st.characters(exclude_categories=()))


@given(ANY)
def test_text_comes_out_as_text(text):
    inside = re.fullmatch("<div>(.*)</div>", html.tag("div", text), re.DOTALL)[1]
    assert "<" not in inside
    assert standard.unescape(inside) == html.visible(text)


@given(ANY)
def test_an_attribute_is_never_left(text):
    assert re.fullmatch('<div title="[^"<>]*"></div>', html.tag("div", title=text), re.DOTALL)


@given(ANY)
def test_what_is_visible_has_nothing_unseen_and_can_be_written(text):
    shown = html.visible(text)
    assert all(c.isprintable() or c in "\n\t" for c in shown)
    assert shown.encode().decode() == shown


def test_elements_are_put_in_as_they_are_and_what_is_none_is_left_out():
    assert html.tag("div", html.tag("b", "<"), None, "&") == "<div><b>&lt;</b>&amp;</div>"


@pytest.mark.parametrize("name", ["script", "style", "iframe", "a", "form", "object", "foreignObject", "image", "use"])
def test_elements_that_run_or_load_cannot_be_made(name):
    with pytest.raises(ValueError, match=name):
        html.tag(name)


@pytest.mark.parametrize("attribute", [{"onclick": "x"}, {"href": "x"}, {"srcdoc": "x"}, {"src": "https://example.com/x.png"}])
def test_attributes_that_run_or_load_cannot_be_made(attribute):
    with pytest.raises(ValueError, match=r"attribute|picture"):
        html.tag("img", **attribute)


def test_one_of_two_is_seen_with_styles_and_the_other_without():
    page = html.either("plain", html.tag("b", "rich"))
    assert re.search(r'<pre style="display:none">plain</pre><div hidden="hidden" style="display:block', page)


@pytest.mark.parametrize("colour", [*html.KINDS.values(), *html.OUTCOMES.values(), html.GREY])
def test_marks_are_seen_on_white_and_on_black(colour):
    """WCAG 2.2, 1.4.11: graphical objects have a contrast of 3 to 1."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    assert 1.05 / (luminance + 0.05) >= 3
    assert (luminance + 0.05) / (0.0056 + 0.05) >= 3  # #111
