"""The catalogue as a page, and as a vocabulary: names, units and labels that are fit for Prometheus."""

import re
from pathlib import Path

import pytest

import langgraph_observe
from langgraph_observe.sinks.prometheus import CATALOG, OTHER
from langgraph_observe.sinks.prometheus.catalog import LIMITS
from langgraph_observe.sinks.prometheus.reference import ELSEWHERE, VALUES, reference

PAGE = Path(langgraph_observe.__file__).parent / "deploy" / "metrics.md"
LABELS = {label for one in CATALOG.values() for label in one.labels}


def test_the_page_is_up_to_date():
    """If not: python -c "from langgraph_observe.sinks.prometheus.reference import reference as r; print(r(), end='')" > the page."""
    assert PAGE.read_text() == reference()


@pytest.mark.parametrize("name", CATALOG)
def test_every_metric_is_on_the_page_with_its_type_labels_and_help(name):
    one = CATALOG[name]
    (line,) = [line for line in reference("mine").splitlines() if line.startswith(f"| `mine_{name}` |")]
    assert all(part in line for part in (one.type, one.help.partition(OTHER)[0], *(f"`{label}`" for label in one.labels)))


def test_every_name_on_the_page_is_one_of_the_catalogue():
    """What is said to be found elsewhere is to be found there."""
    named = set(re.findall(r"`(?:sum\(increase\()?([a-z_]+?)(?:\[24h\]\)\))?(?:\{.*?\})?`", " ".join(ELSEWHERE.values())))
    assert named - set(CATALOG) - {"_count", "outcome"} == set()
    assert len(named) > 8
    assert set(VALUES) | set(LIMITS) <= LABELS


@pytest.mark.parametrize("one", CATALOG.values(), ids=CATALOG)
def test_names_units_and_owners_follow_the_conventions(one):
    assert re.fullmatch(r"[a-z][a-z0-9_]*", one.name)
    assert one.owner
    assert one.help.endswith(".") or one.name == "build_info"
    assert (one.type == "counter") is one.name.endswith("_total")
    if one.unit:
        assert one.name.removesuffix("_total").endswith(f"_{one.unit}")
    if one.type == "histogram":
        assert list(one.buckets) == sorted(set(one.buckets))
    if one.type == "gauge":
        assert one.mode in {"livesum", "max"}, "by default, dead processes stay for ever"
