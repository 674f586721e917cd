from __future__ import annotations

import hashlib
import logging
import os
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st
from tiktoken import registry

from langgraph_observe.capture import encodings, tokens
from langgraph_observe.capture.tokens import by_characters, encoding_name, estimate
from langgraph_observe.records import Message, Payload, Started, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WORDS = tiktoken.Encoding(
    "words",
    pat_str=r"\s?\S+|\s+",
    mergeable_ranks={bytes([b]): b for b in range(256)} | {b"ab": 256, b" ab": 257},
    special_tokens={"<|endoftext|>": 258},
)
"""A genuine encoder that needs no file: one token a byte, but `ab` and ` ab` are one."""


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(encodings, "_loads", {})
    monkeypatch.setattr(registry, "ENCODINGS", {})
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "ENCODINGS", {"o200k_base": WORDS, "cl100k_base": WORDS})
    loaded("o200k_base")
    loaded("cl100k_base")


def loaded(name: str) -> tiktoken.Encoding | None:
    encodings.encoding(name)
    deadline = time.monotonic() + 20
    while not encodings._loads[name].done:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return encodings.encoding(name)


def started(*messages: dict[str, Any], **over: Any) -> Started:
    given = {"model": "gpt-5.2", "input": Payload([Message(m) for m in messages])} | over
    return Started(id="1", root_id="1", trace_id="0" * 32, span_id="0" * 16, kind="model", name="m", at_ns=0, **given)


def user(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


def replied(content: Any, **more: Any) -> Payload:
    return Payload(Message({"role": "assistant", "content": content, **more}))


def sent(*messages: dict[str, Any], **over: Any) -> int | None:
    usage = estimate(started(*messages, **over), None)
    assert usage is not None
    return usage.input_tokens


@pytest.mark.usefixtures("words")
def test_an_estimate_says_that_it_is_one_and_how_it_was_made():
    # "ab ab" is 2 tokens, + 4 for the message, + 3 for the reply; "ab" is 1
    assert estimate(started(user("ab ab")), replied("ab")) == Usage(
        input_tokens=9, output_tokens=1, estimated=True, method="o200k_base×1"
    )


@pytest.mark.usefixtures("words")
@pytest.mark.parametrize(
    ("model", "method"),
    [
        ("gpt-5.2", "o200k_base×1"),
        ("gpt-4-0613", "cl100k_base×1"),
        ("gpt-6", "o200k_base×1"),
        ("o5-mini", "o200k_base×1"),
        ("gpt-oss-120b", "o200k_base×1"),
        ("claude-sonnet-4-5-20250929", "o200k_base×1.18"),
        ("claude-sonnet-4-20250514", "o200k_base×1.18"),
        ("claude-3-5-haiku-latest", "o200k_base×1.18"),
        ("anthropic.claude-opus-4-7-v1:0", "o200k_base×1.5"),
        ("claude-opus-5", "o200k_base×1.5"),
        ("glm-4.6", "o200k_base×1.05"),
        ("deepseek-chat", "o200k_base×1.05"),
        (None, "o200k_base×1.05"),
    ],
)
def test_each_family_of_models_has_its_factor(model: str | None, method: str):
    usage = estimate(started(user("x" * 100), model=model), replied(""))
    assert usage is not None
    assert usage.method == method
    # 100 tokens of text, scaled; the 4 + 3 of the frame are not
    assert usage.input_tokens == round(100 * float(method.partition("×")[2])) + 7


@pytest.mark.usefixtures("words")
def test_names_calls_and_answers_of_tools_cost_what_the_chat_format_costs():
    assert sent(user("ab"), user("ab")) == 2 * (4 + 1) + 3
    assert sent(user("ab", name="ab")) == 4 + 1 + (1 + 1) + 3
    assert sent({"role": "tool", "content": "ab", "tool_call_id": "call_1"}) == 4 + 1 + 3 + 3
    call = {"id": "call_1", "name": "ab", "args": {"ab": 1}}
    assert sent({"role": "assistant", "content": "", "tool_calls": [call]}) == 4 + 1 + len('{"":1}') + 1 + 3


@pytest.mark.usefixtures("words")
def test_tool_schemas_count_three_quarters_of_their_compact_json():
    tools = Payload([{"name": "xy"}])  # [{"name":"xy"}] is 15 bytes, so 15 tokens
    assert sent(user("ab"), tools=tools) == round(1 + 15 * 0.75) + 4 + 3


@pytest.mark.usefixtures("words")
def test_an_image_is_never_read_as_text():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 200_000}}
    assert sent(user([{"type": "text", "text": "ab"}, image])) == 1 + 765 + 4 + 3


@pytest.mark.usefixtures("words")
def test_audio_and_files_are_left_out_and_said_to_be():
    audio = {"type": "input_audio", "input_audio": {"data": "A" * 200_000, "format": "wav"}}
    usage = estimate(started(user([audio, {"type": "text", "text": "ab"}])), None)
    assert usage == Usage(input_tokens=1 + 4 + 3, estimated=True, method="o200k_base×1, without media")


@pytest.mark.usefixtures("words")
def test_a_tool_call_told_twice_counts_once():
    twice = {"tool_calls": [{"id": "1", "name": "ab", "args": {}}]}
    once = estimate(started(), replied("", **twice))
    assert estimate(started(), replied([{"type": "tool_use", "id": "1", "name": "ab", "input": {}}], **twice)) == once


@pytest.mark.usefixtures("words")
def test_what_a_tool_returns_and_what_a_model_thinks_is_text():
    assert sent(user([{"type": "tool_result", "content": [{"type": "text", "text": "ab"}]}])) == 1 + 4 + 3
    assert sent(user([{"type": "thinking", "thinking": "ab", "signature": "S" * 999}])) == 1 + 4 + 3


@pytest.mark.usefixtures("words")
def test_text_that_names_a_special_token_is_only_text():
    assert sent(user("<|endoftext|>")) == 13 + 4 + 3


@pytest.mark.usefixtures("words")
def test_a_text_completion_is_counted_without_frames():
    assert estimate(started(input=Payload(["ab ab"])), Payload("ab")) == Usage(
        input_tokens=2 + 3, output_tokens=1, estimated=True, method="o200k_base×1"
    )


@pytest.mark.usefixtures("words")
def test_a_silent_server_is_hinted_at_once_for_each_model(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "langgraph_observe")
    tokens._hint.cache_clear()
    for model in ("glm-4.6", "glm-4.6", "glm-5"):
        sent(user("ab"), model=model, base_url="http://127.0.0.1/v1")
    sent(user("ab"), model="other")
    assert [("glm-4.6" in line, "stream_usage=True" in line) for line in caplog.messages] == [(True, True), (False, True)]


@pytest.mark.usefixtures("words")
def test_a_side_that_was_not_captured_is_unknown():
    assert estimate(started(input=None), None) is None
    usage = estimate(started(input=None), replied("ab"))
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (None, 1)


@pytest.mark.usefixtures("words")
def test_a_history_is_counted_once_for_all_the_calls_that_repeat_it():
    made: list[str] = []
    message = Message(user("ab"))
    run = started(input=Payload([message]))
    estimate(run, None)
    message.cached("tokens:o200k_base", lambda _: made.append("again"))
    assert made == []


def test_without_a_file_characters_are_weighed_and_the_method_says_so():
    loaded("o200k_base")
    usage = estimate(started(user("word" * 10)), replied("12"))
    # 40 letters at 0.25, + 4 + 3; 2 digits at 0.45
    assert usage == Usage(input_tokens=17, output_tokens=1, estimated=True, method="characters×1")


def test_letters_digits_and_ideographs_weigh_differently():
    assert by_characters("abcd efg") == 8 * 0.25
    assert by_characters('{"1":2}') == pytest.approx(7 * 0.45)
    assert by_characters("今天天气") == pytest.approx(4 * 0.6)
    assert by_characters("привет") == 6 * 0.25


def test_a_missing_file_is_never_fetched_and_nobody_waits(monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # whoever wants out is sent here, and would hang
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert estimate(started(user("ab")), None) is not None
        assert loaded("o200k_base") is None
        silent.setblocking(False)
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_a_file_with_other_content_is_not_used_and_not_removed(tmp_path: Path):
    wrong = tmp_path / "fb374d419588a4632f3f557e76b4b70aebbca790"
    wrong.write_bytes(b"YQ== 0\n")
    assert loaded("o200k_base") is None
    assert wrong.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a file that never ends")
def test_a_file_that_takes_for_ever_to_read_keeps_nobody_waiting(tmp_path: Path):
    pipe = tmp_path / "fb374d419588a4632f3f557e76b4b70aebbca790"
    os.mkfifo(pipe)
    counted: list[Usage | None] = []
    thread = threading.Thread(target=lambda: counted.append(estimate(started(user("ab")), None)), daemon=True)
    thread.start()
    thread.join(20)
    assert len(counted) == 1
    assert not encodings._loads["o200k_base"].done
    pipe.write_bytes(b"YQ== 0\n")
    assert loaded("o200k_base") is None


def test_an_estimate_does_not_wait_for_tiktokens_lock():
    with registry._lock:  # as somebody's download would hold it
        counted: list[Usage | None] = []
        thread = threading.Thread(target=lambda: counted.append(estimate(started(user("ab")), None)), daemon=True)
        thread.start()
        thread.join(20)
        assert len(counted) == 1
        assert loaded("o200k_base") is None


URL = "https://example.invalid/x.tiktoken"
CONTENT = b"YQ== 0\nYg== 1\nYWI= 2\n"
RANKS = {b"a": 0, b"b": 1, b"ab": 2}


def put(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / hashlib.sha1(URL.encode()).hexdigest()).write_bytes(CONTENT)


@pytest.fixture(params=["TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR", "tmp", "llama_index", "litellm"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR")
    match request.param:
        case "tmp":
            monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
            put(tmp_path / "data-gym-cache")
        case "llama_index" | "litellm" as package:
            monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
            put(tmp_path / package / encodings.PACKAGES[package])
            (tmp_path / package / "__init__.py").write_text("raise RuntimeError('imported')")
            monkeypatch.syspath_prepend(tmp_path)
            monkeypatch.delitem(sys.modules, package, raising=False)
        case variable:
            monkeypatch.setenv(variable, str(tmp_path / "cache"))
            put(tmp_path / "cache")
    return


@pytest.mark.usefixtures("place")
def test_the_file_is_found_where_it_may_lie_and_its_content_is_verified():
    assert encodings._ranks(URL, hashlib.sha256(CONTENT).hexdigest()) == RANKS
    with pytest.raises(FileNotFoundError):
        encodings._ranks(URL, hashlib.sha256(b"other").hexdigest())


def test_an_encoding_that_the_application_loaded_is_shared(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registry, "ENCODINGS", {"o200k_base": WORDS})
    assert loaded("o200k_base") is WORDS


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_starts_over_what_was_still_loading(monkeypatch: pytest.MonkeyPatch):
    unfinished, finished = encodings._Load("o200k_base"), encodings._Load("cl100k_base")
    finished.done = True
    monkeypatch.setattr(encodings, "_loads", {"o200k_base": unfinished, "cl100k_base": finished})
    child = os.fork()
    if child == 0:
        os._exit(0 if encodings._loads == {"cl100k_base": finished} else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(encodings._loads) == 2


@pytest.mark.parametrize(("name", "count"), [("o200k_base", 10), ("cl100k_base", 10)])
def test_the_real_encodings_count_like_tiktoken(name: str, count: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR")
    if directory := os.environ.get("TIKTOKEN_FILES"):
        monkeypatch.setenv("TIKTOKEN_CACHE_DIR", directory)
    try:
        built = encodings._build(name)
    except FileNotFoundError:
        pytest.skip(f"no verified file of {name}: set TIKTOKEN_FILES to a directory that has it")
    # the sentence of OpenAI's cookbook and its count
    assert len(built.encode_ordinary("The quick brown fox jumps over the lazy dog.")) == count
    assert built.decode(built.encode_ordinary("naïve 今天 🙂")) == "naïve 今天 🙂"


def test_models_are_counted_by_the_two_chat_encodings_only():
    names = ("gpt-4", "gpt-5", "gpt-oss-20b", "text-davinci-003", "gpt2", "claude-x", "")
    assert [encoding_name(name) for name in names] == ["cl100k_base", "o200k_base", *["o200k_base"] * 5]


blocks = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "text", "content", "name", "args"]), inner | st.sampled_from(["text", "image", "tool_use"])),
    max_leaves=10,
)  # fmt: skip


@given(blocks, blocks)
def test_any_content_has_an_estimate_that_is_not_negative(content: Any, calls: Any):
    size = tokens._body({"role": "user", "content": content, "tool_calls": calls}, by_characters)
    assert min(size.text, size.fixed, size.uncounted) >= 0
