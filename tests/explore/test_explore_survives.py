"""What the explorer survives: megabytes, an application that writes while it is read, cut files, a silent server, no libraries."""

import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from langfuse_server import KEYS, Langfuse
from otel_records import finished, started
from recorded import SPENT, message, run, trace, traces

from langgraph_observe.explore import StoreFile, Traces
from langgraph_observe.explore.langfuse import Langfuse as Source
from langgraph_observe.payloads import Payload
from langgraph_observe.sinks.store import Store
from langgraph_observe.sinks.store.schema import StoreError
from langgraph_observe.sinks.store.writer import Writer

LARGE = "word " * 2_000_000
VIEWS = {
    "trace": trace,
    "graph": lambda one: trace(one).graph(),
    "messages": lambda one: trace(one).messages(),
    "run": lambda one: next(run for run in trace(one) if run.kind == "model"),
    "diff": lambda one: trace(one).diff(trace(heavy("other "))),
    "traces": traces,
    "overview": lambda one: traces(one).overview(),
    "tools": lambda one: traces(one).tools(),
}


def heavy(more=""):
    """Ten megabytes in each of four places."""
    said = Payload({"messages": [message("user", more + LARGE), message("assistant", LARGE + more)]})
    return [
        run("a1", None, "graph", "g", 0, 2, graph="g", input=said, output=said),
        run("n1", "a1", "node", "n", 0, 2, node="n", graph="g"),
        run("b1", "n1", "model", "m", 0.1, 1, input=said, output=said, usage=SPENT),
        run("c1", "n1", "tool", "t", 1.2, 0.1, input=Payload({more + "k": [LARGE]}), output=Payload(list(range(1_500_000)))),
    ]


@pytest.mark.parametrize("view", VIEWS)
def test_payloads_of_ten_megabytes_make_no_large_page(view):
    shown = VIEWS[view](heavy())
    assert len(shown._repr_html_().encode()) < 300_000
    assert len(repr(shown)) < 60_000


def test_payloads_of_ten_megabytes_are_read_from_a_store_and_shown_in_part(tmp_path):
    writer = Writer(tmp_path / "t.db", keep_days=None, keep_bytes=None, busy_seconds=5)
    writer.write(heavy())
    writer.close()
    one = Traces(StoreFile(tmp_path / "t.db")).last()
    assert len(one._repr_html_().encode()) < 300_000
    assert one.run("t").output.value[-1] == 1_499_999


def test_what_an_application_writes_at_a_thousand_spans_a_second_is_read_whole_meanwhile(tmp_path):
    store, over = Store(tmp_path / "t.db", keep_days=None), threading.Event()

    def write():
        for number in range(20):  # batches of 100 runs, each a trace of ten
            for of_one in range(10):
                root = started(trace_id=f"{number:016x}{of_one:016x}", name="g", graph="g")
                children = [started("tool", root, name="t", input=Payload({"n": number})) for _ in range(9)]
                for child in children:
                    store(finished(child))
                store(finished(root))
            time.sleep(0.1)
        over.set()

    writing = threading.Thread(target=write)
    writing.start()
    kept, seen = Traces(StoreFile(store.path)), [0]
    while not over.is_set():
        if store.path.exists():
            seen.append(sum(kept.tools()["calls"]))
            assert str(kept.table()).count(" g ") <= 20
            assert {len(one) for one in kept.last(5)} <= set(range(1, 11))
            assert kept.overview()._repr_html_()
    writing.join()
    store.close()
    assert seen == sorted(seen)
    assert sum(kept.tools()["calls"]) == 1_800
    assert Counter(len(one) for one in kept) == {10: 200}
    assert not any(store.health().values())


def test_a_store_that_is_cut_anywhere_is_read_or_named(tmp_path):
    path = tmp_path / "t.db"
    writer = Writer(path, keep_days=None, keep_bytes=None, busy_seconds=5)
    writer.write([finished(started(trace_id=f"{n:032x}", name="g", input=Payload("x" * 2_000 + str(n)))) for n in range(50)])
    writer.close()
    whole, named = path.read_bytes(), 0
    for size in range(1, len(whole), len(whole) // 40):
        path.write_bytes(whole[:size])
        try:
            for one in Traces().open(path):
                one._repr_html_()
        except StoreError as error:
            named += "t.db" in str(error)
        assert repr(Traces().open(path))
    assert named >= 35


def test_a_langfuse_that_is_silent_is_named_when_the_time_is_over():
    with Langfuse(silent=True) as server, pytest.raises(ConnectionError, match=r"Langfuse does not answer at .* \(ReadTimeout\)"):
        Traces(Source(base_url=server.url, timeout=0.2, **KEYS)).last()


def test_every_view_is_shown_where_no_library_for_frames_is_installed():
    code = f"""
        import sys
        for library in ("pandas", "numpy", "polars", "pyarrow", "altair", "plotly", "IPython"):
            sys.modules[library] = None
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from recorded import OTHER, agent, trace, traces
        many, one = traces(agent(), agent(OTHER)), trace(agent())
        views = [many, one, one.graph(), one.messages(), one.run("ChatOpenAI"), one.diff(trace(agent(OTHER))), many.overview()]
        tables = [many.nodes(), many.models(), many.tools(), many.errors(), many.threads(), many.scores(), many.runs(), many.costs()]
        for view in (*views, *tables):
            assert repr(view) and view._repr_html_()
        try:
            many.df()
        except ImportError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=False)
    assert "pip install pandas" in done.stdout, done.stderr
