"""Records are what a frozen dataclass is, however they are built."""

import copy
import pickle
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from langgraph_observe.records import Finished, Started

SAID = {"id": "1", "root_id": "1", "trace_id": "a", "span_id": "b", "kind": "node", "name": "ask", "at_ns": 1}
ENDED = {"run": Started(**SAID), "outcome": "ok", "seconds": 1.0}
RECORDS = pytest.mark.parametrize(("kind", "said"), [(Started, SAID), (Finished, ENDED)])


@RECORDS
def test_a_field_cannot_be_changed_or_added(kind, said):
    record = kind(**said)
    assert type(record) is kind
    for name in (fields(kind)[0].name, "another"):
        with pytest.raises((FrozenInstanceError, TypeError)):
            setattr(record, name, "other")
    with pytest.raises(FrozenInstanceError):
        delattr(record, fields(kind)[0].name)


@RECORDS
def test_what_is_given_is_there_and_what_is_not_has_its_default(kind, said):
    record = kind(**said)
    assert {name: getattr(record, name) for name in said} == said
    rest = [one for one in fields(kind) if one.name not in said and isinstance(one.default, (str, int, tuple, type(None)))]
    assert {one.name: getattr(record, one.name) for one in rest} == {one.name: one.default for one in rest}


@RECORDS
def test_what_is_required_must_be_given_by_name(kind, said):
    for name in said:
        with pytest.raises(TypeError, match=name):
            kind(**{key: value for key, value in said.items() if key != name})
    with pytest.raises(TypeError, match="nonsense"):
        kind(**said, nonsense=1)
    with pytest.raises(TypeError):
        kind(*said.values())


def test_two_records_share_no_mapping():
    one, other = Started(**SAID), Started(**SAID)
    assert one.labels == one.metadata == one.parameters == {}
    assert len({id(held) for run in (one, other) for held in (run.labels, run.metadata, run.parameters)}) == 6


COPIES = [copy.copy, replace, copy.deepcopy, lambda record: pickle.loads(pickle.dumps(record))]
"""Of what is measured lazily there are shallow ones only."""


@pytest.mark.parametrize(
    ("record", "again"), [(Started(**SAID), one) for one in COPIES] + [(Finished(**ENDED), one) for one in COPIES[:2]]
)
def test_a_copy_is_equal_and_of_the_same_class(record, again):
    assert again(record) == record
    assert type(again(record)) is type(record)
    assert repr(record).startswith(f"{type(record).__name__}({fields(record)[0].name}=")
