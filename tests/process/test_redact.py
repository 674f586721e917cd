"""redact: secrets never reach a sink, ordinary text is left as it was."""

import dataclasses
import json
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langgraph_observe.payloads import REDACTION_FAILED, Message, Payload
from langgraph_observe.process.patterns import DEFAULT_PATTERNS, Patterns
from langgraph_observe.process.patterns import _needed as needed
from langgraph_observe.process.redact import DEFAULT_KEYS, redact
from langgraph_observe.records import Failure, Finished, Noted, Scored, Started


def started(**over):
    return Started(
        **{"id": "1", "root_id": "1", "trace_id": "a" * 32, "span_id": "b" * 16, "kind": "graph", "name": "g", "at_ns": 0, **over}
    )


def shown(value, **options):
    """What a sink sees of an input."""
    payload = Payload(value)
    redact(**options)(started(input=payload))
    assert json.loads(payload.json) == payload.value
    return payload.value


ALNUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def token(prefix, shortest, alphabet=ALNUM):
    return st.text(alphabet, min_size=shortest, max_size=shortest + 40).map(lambda rest: prefix + rest)


def of(template, secret):
    return secret.map(lambda inner: (template.format(inner), inner))


WHOLE = {
    "openai": token("sk-", 20),
    "openai project": token("sk-proj-", 40, ALNUM + "_-"),
    "anthropic": token("sk-ant-api03-", 40, ALNUM + "_-"),
    "langfuse": st.uuids().map(lambda u: f"sk-lf-{u}"),
    "langfuse public": st.uuids().map(lambda u: f"pk-lf-{u}"),
    "langsmith": token("lsv2_pt_", 30, "0123456789abcdef_"),
    "tavily": token("tvly-", 20),
    "hugging face": token("hf_", 30),
    "groq": token("gsk_", 40),
    "xai": token("xai-", 40),
    "perplexity": token("pplx-", 40),
    "google": token("AIza", 35, ALNUM + "_-"),
    "google oauth": token("ya29.", 30, ALNUM + "_-"),
    "aws": token("AKIA", 16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"),
    "aws session": token("ASIA", 16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"),
    "github": token("ghp_", 36),
    "github server": token("ghs_", 36),
    "github fine-grained": token("github_pat_", 40, ALNUM + "_"),
    "gitlab": token("glpat-", 20, ALNUM + "_-"),
    "slack": token("xoxb-", 20, ALNUM + "-"),
    "slack app": token("xapp-", 20, ALNUM + "-"),
    "jwt": st.tuples(*[token("", 10, ALNUM)] * 3).map(
        lambda p: f"eyJ{p[0]}.{p[1]}.{p[2]}"
    ),  # no _-: part of it would be another kind
    "web hook": token("whsec_", 20),
    "npm": token("npm_", 36),
    "digitalocean": token("dop_v1_", 40, "0123456789abcdef"),
    "sendgrid": st.tuples(token("", 20), token("", 40)).map(lambda p: f"SG.{p[0]}.{p[1]}"),
    "private key": token("", 40, ALNUM + "+/\n").map(
        lambda body: f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"
    ),
}
PASSWORD = st.text(ALNUM + "!#$%+*-_.~", max_size=30).map(lambda rest: f"Zq7{rest}")
PARTS = {
    "stripe": of("sk_{}", token("live_", 20)),
    "bearer": of("Authorization: Bearer {}", token("", 24)),
    "bearer, lower": of("bearer {}", token("a1", 8)),
    "basic": of("Authorization: Basic {}", token("", 16).map(lambda t: t + "==")),
    "url": of("postgres://app:{}@db.example:5432/x", PASSWORD),
    "password=": of("password={}", PASSWORD),
    "query": of("https://api.example/?api_key={}&page=2", PASSWORD),
    "environment": of("export OPENAI_API_KEY='{}'", PASSWORD),
    "json": of('{{"client_secret": "{}"}}', PASSWORD),
    "json in json": of('{{\\"db_password\\": \\"{}\\"}}', PASSWORD),
    "yaml": of("password: {}", PASSWORD),
    "with spaces": of('secret = "{}"', st.tuples(PASSWORD, PASSWORD).map(" ".join)),
    "authorization token": of("Authorization: Token {}", PASSWORD),
    "cookie": of("Cookie: session={}; theme=dark", PASSWORD),
    "yaml secret": of("secret: {}", PASSWORD),
    "yaml key": of("api_key: {}", PASSWORD),
    "signed url": of("https://h.example/x?a=b&sig={}", token("", 12)),
    "url key": of("https://h.example/x?key={}&a=b", token("", 12)),
    "url with a slash": of("postgres://app:Zq/{}@db.example:5432/x", token("", 8)),
    "account key": of("AccountKey={}==;EndpointSuffix=x", token("", 40)),
    "aws secret": of("aws_secret_access_key = {}", token("", 40)),
    "cut private key": of("-----BEGIN PRIVATE KEY-----\n{}", token("", 40)),
}
WRAPPED = {**{name: secret.map(lambda s: (s, s)) for name, secret in WHOLE.items()}, **PARTS}


def everywhere(text):
    """The text in each place of an input where text may be."""
    return {
        "plain": text,
        "inside": f"before {text}\nafter",
        "list": [[text]],
        "set": {text},
        text: "key",
        "message": Message(
            {"role": "user", "content": [{"type": "text", "text": text}], "tool_calls": [{"name": "t", "args": {"a": text}}]}
        ),
        "object": ValueError(text),
    }


@pytest.mark.parametrize("kind", WRAPPED)
def test_a_secret_survives_in_no_view_of_a_payload(kind):
    @settings(max_examples=20)
    @given(WRAPPED[kind])
    def check(case):
        text, secret = case
        payload = Payload(everywhere(text))
        redact()(started(input=payload))
        (message,) = payload.messages
        for view in (repr(payload.value), payload.json.decode(), repr(payload), repr(message.plain), message.json.decode()):
            assert secret not in view
            assert json.dumps(secret)[1:-1] not in view
        assert payload.value["inside"].startswith("before ")

    check()


@pytest.mark.parametrize("kind", WHOLE)
def test_what_stands_around_a_secret_stays(kind):
    @settings(max_examples=20)
    @given(WHOLE[kind])
    def check(secret):
        assert shown(f"see ({secret}), thanks") == "see ([redacted]), thanks"

    check()


def test_the_name_of_a_secret_stays():
    assert shown("GET https://bob:hunter2@h/x?token=abc&n=1") == "GET https://bob:[redacted]@h/x?token=[redacted]&n=1"
    assert (
        shown('Authorization: Bearer abc123def, password="two words", x')
        == 'Authorization: Bearer [redacted], password="[redacted]", x'
    )


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ('{"password": "it\'s-secret-42"}', '{"password": "[redacted]"}'),
        (r'{"password": "a\"bcdef99", "b": 1}', '{"password": "[redacted]", "b": 1}'),
        (r'{"password": "ends in \\", "b": "c"}', '{"password": "[redacted]", "b": "c"}'),
        ("{'password': 'say \"hi\" 42', 'b': 1}", "{'password': '[redacted]', 'b': 1}"),
        (r'"{\"password\": \"it\'s\", \"b\": 1}"', r'"{\"password\": \"[redacted]\", \"b\": 1}"'),
        (r'"{\"password\": \"a\\\"b\\\\\", \"b\": 1}"', r'"{\"password\": \"[redacted]\", \"b\": 1}"'),
        (r"\\\"password\\\": \\\"it\'s\\\", \\\"b\\\": 1", r"\\\"password\\\": \\\"[redacted]\\\", \\\"b\\\": 1"),
        ('password="", user="bob"', 'password="", user="bob"'),
        ("password=it's-secret, b", "password=[redacted], b"),
        ("AccountName=a;AccountKey=abc/def+==;End=x", "AccountName=a;AccountKey=[redacted];End=x"),
        ("Authorization: Token c0ffee, x", "Authorization: Token [redacted], x"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic [redacted]"),
        ("curl -H 'Authorization: Bearer MySecretPass' x", "curl -H 'Authorization: Bearer [redacted]' x"),
        ('Cookie: a=b; c="d"\nHost: h', "Cookie: [redacted]\nHost: h"),
        ('{"Set-Cookie": "a=b; c=d", "e": 1}', '{"Set-Cookie": "[redacted]", "e": 1}'),
        ("- secret: x\n- b", "- secret: [redacted]\n- b"),
        ("token: abcdef12 and so on", "token: [redacted] and so on"),
        ("secret: 'a b'", "secret: '[redacted]'"),
        ("api_key: x and so on", "api_key: [redacted] and so on"),
        ("https://h/?key=a&X-Amz-Signature=b&c=d", "https://h/?key=[redacted]&X-Amz-Signature=[redacted]&c=d"),
        ("https://h/?access_token=a&signature=b#c", "https://h/?access_token=[redacted]&signature=[redacted]#c"),
        ("db://bob:a@b@host/x", "db://bob:[redacted]@host/x"),
        ("db://bob:a/b/c@host:5432/x@y", "db://bob:[redacted]@host:5432/x@y"),
    ],
)
def test_a_secret_is_hidden_whole_and_nothing_else(text, clean):
    assert shown(text) == clean


@pytest.mark.parametrize(
    "text",
    [
        "the secret: love is all you need", "a token: the smallest part", "http://host:8080/a@b.example", "http://host:{port}/users/@me",
        "a cookie: sweet", "monkey=1", "?page=2&sort=name", "npm_config_registry", "SG.1.2",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_secret_stays(text):
    assert shown(text) == text


MIXED = st.lists(
    st.one_of(
        st.text(max_size=20),
        *WHOLE.values(),
        *[part.map(lambda p: p[0]) for part in PARTS.values()],
        st.sampled_from(["[redacted]", "***"]),
    ),
    max_size=6,
).map("".join)


@given(MIXED, st.sampled_from(["[redacted]", "", "***", "* hidden 1 *", "password=x"]))
def test_redacting_twice_is_redacting_once_and_grows_by_no_more_than_the_replacements(text, replacement):
    options = {"emails": True, "cards": True, "replacement": replacement}
    once = shown(text, **options)
    assert shown(once, **options) == once
    assert len(once) <= len(text.encode("utf-8", "replace").decode()) + once.count(replacement or "\0") * len(replacement)


ORDINARY = st.lists(
    st.sampled_from(
        ["The quick brown fox", "costs $5 and 7 tokens;", "max_tokens=5", "total_tokens: 7", "a basic understanding", "of bearer bonds,",
         "task-management-of-everything", "https://example.com/a?b=c#d", "ssh://git@host:22/x", "2026-11-20T01:02:03", "the secret: be kind",
         "passwords,", "if password == other:", "sk-learn", "文字 naïve 😀", "\\n {} [1,2]", "3.14159", "user@host", "a token", "The API key",
         "basic c0ffee00-1234-4abc-8def-1234567890ab", "4111111111111111", "eyJ", "akin", "hf_", "ghp_", "xoxo", "-----BEGIN"]
    ),
    max_size=60,
).map(" ".join)  # fmt: skip


@given(ORDINARY)
def test_ordinary_text_is_left_as_it_was(text):
    assert shown({"a": [text]}) == {"a": [text]}


@pytest.mark.parametrize(
    "key",
    ["api_key", "apikey", "X-API-Key", "OPENAI_API_KEY", "Authorization", "proxy-authorization", "password", "db.password", "passwd",
     "clientSecret", "client_secret", "accessToken", "refresh_token", "token", "Cookie", "Set-Cookie", "PRIVATE_KEY", "password2", "credentials"],
)  # fmt: skip
def test_the_value_under_a_secret_key_is_hidden_whatever_it_is(key):
    for value in ("hunter2", 1234, ["a"], {"b": "c"}, b"x"):
        assert shown({"deep": [{key: value, "other": "kept"}]}) == {"deep": [{key: "[redacted]", "other": "kept"}]}


@pytest.mark.parametrize(
    "key",
    [
        "max_tokens",
        "total_tokens",
        "input_tokens",
        "token_count",
        "secretary",
        "keys",
        "key",
        "monkey",
        "author",
        "passwords_changed_at",
        "",
    ],
)
def test_other_keys_hide_nothing(key):
    assert shown({key: "kept"}) == {key: "kept"}


def test_an_absent_value_an_empty_one_and_a_flag_tell_nothing_and_stay():
    value = {"password": None, "token": "", "secret": True, "time_to_first_token": 0.5}
    assert shown(value) == value


def test_own_keys_patterns_and_replacement():
    options = {
        "keys": (*DEFAULT_KEYS, "badge-no"),
        "patterns": (*DEFAULT_PATTERNS, r"acme-\d+", r"order (\d+)"),
        "replacement": "***",
    }
    value = {"BadgeNo": "7", "text": "acme-123, order 99, password=x"}
    assert shown(value, **options) == {"BadgeNo": "***", "text": "***, order ***, password=***"}
    assert shown({"password": "password=x"}, keys=(), patterns=()) == {"password": "password=x"}


def test_patterns_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match="one group"):
        redact(patterns=[r"(a)(b)"])
    with pytest.raises(ValueError, match="empty text"):
        redact(patterns=[r"a*"])
    with pytest.raises(re.error):
        redact(patterns=["("])
    assert shown("x= y", patterns=[r"x=(\w*)"]) == "x= y"


def test_e_mail_addresses_and_card_numbers_only_if_asked():
    text = "bob.b+x@mail.example.co.uk paid with 4111 1111 1111 1111, not 4111 1111 1111 1112"
    assert shown(text) == text
    assert shown(text, emails=True) == "[redacted] paid with 4111 1111 1111 1111, not 4111 1111 1111 1112"
    assert shown(text, cards=True) == "bob.b+x@mail.example.co.uk paid with [redacted], not 4111 1111 1111 1112"
    assert shown({"bob@example.com": 1}, emails=True) == {"[redacted]": 1}


@pytest.mark.parametrize(
    "card", ["4111111111111111", "378282246310005", "3782 822463 10005", "5555-5555-5555-4444", "6011000990139424"]
)
def test_card_numbers_are_found_by_their_check_digit(card):
    wrong = card[:-1] + str((int(card[-1]) + 1) % 10)
    assert shown(f"2024 {card}.", cards=True) == "2024 [redacted]."
    assert shown(f"2024 {wrong}.", cards=True) == f"2024 {wrong}."
    digits = "".join(filter(str.isdigit, card))
    assert shown({"card": int(digits)}, cards=True) == {"card": "[redacted]"}
    assert shown(f"9{digits}9", cards=True) == f"9{digits}9"


def test_the_callback_comes_first_and_what_it_returns_is_redacted_too():
    seen = []

    def callback(key, value):
        seen.append((key, value))
        return "password=leaked" if value == "swap" else value

    assert shown({"password": "hunter2", "a": "swap"}, callback=callback) == {"password": "[redacted]", "a": "password=[redacted]"}
    assert ("password", "hunter2") in seen


def test_the_callback_sees_metadata_each_time():
    answers = iter(["one", "two"])
    process = redact(callback=lambda _, value: next(answers) if value == "swap" else value)
    runs = [process(started(metadata={"a": "swap", "password": "x"})) for _ in range(2)]
    assert [run.metadata for run in runs] == [{"a": "one", "password": "[redacted]"}, {"a": "two", "password": "[redacted]"}]


def test_a_callback_that_raises_drops_the_content_and_the_run_goes_on():
    def callback(key, value):
        raise ValueError(value)

    payload = Payload({"text": "hunter2"})
    run = started(input=payload, metadata={"a": "hunter2"}, tags=("hunter2",), base_url="http://hunter2")
    process = redact(callback=callback)
    clean = process(run)
    end = process(Finished(run=clean, outcome="error", seconds=1.0, failure=Failure("E", "hunter2", "hunter2")))
    assert payload.value == REDACTION_FAILED
    assert (clean.metadata, clean.tags, clean.base_url) == ({"redaction": REDACTION_FAILED}, (), REDACTION_FAILED)
    assert end.failure == Failure("E", REDACTION_FAILED, REDACTION_FAILED)
    assert "hunter2" not in repr(dataclasses.asdict(dataclasses.replace(end.run, input=None, labels={}, parameters={})))


def test_what_is_small_is_redacted_at_once_and_names_and_ids_stay():
    dirty = "sk-" + "x1" * 20
    clean = redact()(
        started(
            name=dirty, user_id=dirty, session_id=dirty, thread_id=dirty,
            metadata={"nested": {"list": [dirty, 1], "pair": (dirty,)}, "api_key": "short", dirty: 1},
            parameters={"stop": [dirty], "max_tokens": 5}, labels={"team": dirty}, tags=("a", dirty),
            base_url="https://bob:hunter2@proxy/v1", description=f"calls {dirty}",
        )
    )  # fmt: skip
    assert (clean.name, clean.user_id, clean.session_id, clean.thread_id) == (dirty,) * 4
    assert clean.metadata == {
        "nested": {"list": ["[redacted]", 1], "pair": ("[redacted]",)},
        "api_key": "[redacted]",
        "[redacted]": 1,
    }
    assert clean.parameters == {"stop": ["[redacted]"], "max_tokens": 5}
    assert (clean.labels, clean.tags) == ({"team": "[redacted]"}, ("a", "[redacted]"))
    assert (clean.base_url, clean.description) == ("https://bob:[redacted]@proxy/v1", "calls [redacted]")


def test_a_message_in_the_metadata_is_redacted_when_it_is_read():
    message = Message({"role": "user", "content": "password=hunter2"})
    run = redact()(started(metadata={"last": message}))
    assert run.metadata["last"].plain == {"role": "user", "content": "password=[redacted]"}


def test_failures_and_scores_are_redacted():
    process = redact()
    run = started()
    end = process(Finished(run=run, outcome="error", seconds=1.0, failure=Failure("E", "password=x", 'File "a": token=y')))
    assert end.failure == Failure("E", "password=[redacted]", 'File "a": token=[redacted]')
    assert end.run is run
    score = Scored(trace_id="a" * 32, name="s", value="token=y", comment="password=x", at_ns=0, id="1")
    assert (process(score).value, process(score).comment) == ("token=[redacted]", "password=[redacted]")


def fresh(text):
    """Equal to what was seen before, and another object."""
    return "".join([*text, " "])


def test_a_record_with_nothing_to_hide_is_the_same_record():
    process = redact()
    run = started(
        metadata={"a": ["b", ("c",)], "n": 1}, parameters={"temperature": 0.1, "stop": ["x"]}, tags=("t",), base_url="http://x"
    )
    records = [
        run,
        started(metadata={"a": [fresh("b")], "c": fresh("d")}, tags=(fresh("t"),), base_url=fresh("http://x")),
        started(metadata={"a": [fresh("b")], "c": fresh("d")}, tags=(fresh("t"),), base_url=fresh("http://x")),
        Finished(run=run, outcome="ok", seconds=1.0),
        Finished(run=run, outcome="error", seconds=1.0, failure=Failure("E", "plain")),
        Noted(run=run, kind="custom", at_ns=0, payload=Payload("x")),
        Scored(trace_id="a" * 32, name="s", value=1.0, at_ns=0, id="1"),
    ]
    for record in records:
        assert process(record) is record


def test_all_payloads_of_all_records_are_redacted_and_none_is_read():
    class Unread(Payload):
        __slots__ = ()

        def fold(self, message):
            raise AssertionError("read")

    calls = []

    def callback(key, value):
        calls.append(value)
        return value

    unread = Unread("x")
    redact()(started(input=unread, tools=unread))
    payloads = {name: Payload(f"{name}: password=hunter2") for name in ("input", "tools", "output", "real input", "noted")}
    process = redact(callback=callback)
    run = process(started(input=payloads["input"], tools=payloads["tools"]))
    process(Finished(run=run, outcome="ok", seconds=1.0, input=payloads["real input"], output=payloads["output"]))
    process(Finished(run=run, outcome="ok", seconds=1.0, input=payloads["input"]))
    process(Noted(run=run, kind="custom", at_ns=0, payload=payloads["noted"]))
    assert calls == []
    assert {payload.value for payload in payloads.values()} == {f"{name}: password=[redacted]" for name in payloads}
    assert len(payloads["input"]._redactors) == 2, "the input that a Finished shares with its Started is given the redactors once"


def test_a_megabyte_made_to_be_slow_is_read_in_linear_time():
    """Quadratic work on a megabyte would take hours; the deadline is two minutes for what takes seconds."""
    code = """
from langgraph_observe.process.redact import redact
from langgraph_observe.payloads import Payload
from langgraph_observe.records import Scored
process = redact(emails=True, cards=True)
hard = ["sk-", "eyJ", "eyJaaaaaaaa.", "password", "password=", "token=\\\\", "://a:", "Bearer ", "bearer a", "-----BEGIN PRIVATE KEY-----",
        "a", "a.", "a@", "a@a.", "1", "1 ", "1111 ", "password\\"\\"\\"\\"", "AKIA", "secret ", "basic aaaa/", "-----BEGIN A",
        "cookie:", "cookie: a=", "authorization: token ", "secret:", "secret: ", "secret: a\\n", "?key=", "&a-", "://a:b/", "://a:@",
        "://a:b@", "password=a'", "password='\\\\", "password=\\\\'", "password=\\\\\\\\\\\\'\\\\", "SG.aaaaaaaaaaaaaaaaaaaa", "npm_", "whsec_"]
for text in hard:
    process(Scored(trace_id="", name="", value=1.0, comment=text * (1_000_000 // len(text)), at_ns=0, id=""))
print("done")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "done"


BARE = [one for one in DEFAULT_PATTERNS if needed(one) and "\\++" not in one]
"""Hypothesis knows no possessive quantifier."""


@pytest.mark.parametrize("pattern", BARE)
@given(data=st.data())
@settings(max_examples=25)
def test_a_text_without_the_characters_that_a_pattern_needs_is_not_matched_by_it(pattern, data):
    found = re.search(pattern, data.draw(st.from_regex(pattern)))
    assert found is None or set(needed(pattern)) & set(found[0])


@pytest.mark.parametrize("pattern", [one for one in DEFAULT_PATTERNS if "\\++" not in one])
@given(data=st.data())
@settings(max_examples=25)
def test_what_a_pattern_matches_is_never_ruled_out_before(pattern, data):
    text = data.draw(st.from_regex(pattern))
    assert re.search(pattern, text) is None or pattern in [one.pattern for one in Patterns(DEFAULT_PATTERNS).possible(text)]


KINDS = ("api", "access", "account", "private", "secret", "secret_access", "SecretAccess", "secret-access")


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "Passwd",
        "passphrase",
        "PWD",
        "secret",
        "token",
        *(f"{kind}{between}Key" for kind in KINDS for between in ("", "_", "-")),
    ],
)
def test_whatever_kind_of_secret_is_assigned_is_found(name):
    for text in (f"{name}=hunter2", f'{{"my_{name}": "hunter2"}}', f"{name.upper()}: hunter2hunter2"):
        assert "hunter2" not in shown({"said": text})["said"]


def test_what_a_name_assigns_needs_a_sign_between():
    (assigned,) = (one for one in DEFAULT_PATTERNS if needed(one) and one not in BARE)
    for text in ("password: hunter2hunter2", "password=x", '"token": "x"', "api_key = 'x'", "secret:\tabcdefgh1"):
        assert set(needed(assigned)) & set(re.search(assigned, text)[0])
