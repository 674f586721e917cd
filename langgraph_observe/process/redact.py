"""redact(): what must not be seen is taken out before any sink sees it.

Inputs and outputs are not read here: they are given a redactor that works when a sink first reads them (`payloads.py`).
Metadata, parameters and the text of failures are small and are redacted at once.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from langgraph_observe.payloads import REDACTION_FAILED, Message
from langgraph_observe.process.patterns import CARD, DEFAULT_PATTERNS, EMAIL, Patterns
from langgraph_observe.records import Failure, Finished, Noted, Scored, Started

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable

    from langgraph_observe.records import Processor, Record, Redactor

DEFAULT_KEYS: Final = (
    *("authorization", "cookie", "cookies", "set_cookie", "password", "passwd", "pwd", "passphrase", "secret", "secrets", "token"),
    *("api_key", "access_key", "secret_key", "private_key", "signing_key", "encryption_key", "credential", "credentials"),
    "connection_string",
)
"""A key is hidden when it ends with one of these, case, separators and final digits aside: so `OPENAI_API_KEY`, `x-api-key`,
`clientSecret` and `password2` are, while `max_tokens` and `secretary` are not."""

AT_ONCE: Final = ("metadata", "parameters", "labels", "tags", "base_url", "description")
"""Fields of Started that are redacted on the agent's thread."""
SHORT: Final = 256
"""Characters of a text whose answer is kept: keys, ids and names come again and again."""
SCALARS: Final = frozenset({str, int, float, bool, type(None)})

R = TypeVar("R", Started, Scored, Failure)


def redact(
    *,
    keys: Iterable[str] = DEFAULT_KEYS,
    patterns: Iterable[str] = DEFAULT_PATTERNS,
    emails: bool = False,
    cards: bool = False,
    callback: Redactor | None = None,
    replacement: str = "[redacted]",
) -> Processor:
    """Take secrets out of inputs, outputs, tools, metadata, labels, parameters, tags, base URLs, failures and comments.

    Hidden are the values of mappings under `keys`, whatever matches `patterns` in any text, e-mail addresses and card numbers
    (with a right Luhn digit) if asked. `callback(key, value)` comes first and sees everything as it was; what it returns is
    redacted in turn. If it raises, the content is dropped. It runs on the agent's thread for metadata and failures, on a
    sink's for inputs and outputs. Names, kinds and ids stay, of runs, users, sessions and threads: records are found by them.
    Objects in metadata that are not plain data stay, too; capture lets none through.

    Redacting twice is redacting once. Raises ValueError for a pattern with more than one group or that matches the empty
    text, and re.error for one that is no regular expression.
    """
    secrets = Secrets(keys=keys, patterns=(*patterns, *([EMAIL] if emails else [])), cards=cards, replacement=replacement)
    return Redaction(secrets, callback)


class Secrets:
    """A redactor: `(key, value) -> value`, the replacement for what is secret and the value itself for what is not."""

    def __init__(self, *, keys: Iterable[str], patterns: Iterable[str], cards: bool, replacement: str) -> None:
        self._replacement = replacement
        self._endings = tuple(filter(None, map(_letters, keys)))
        self._patterns = Patterns(patterns)
        self._cards = cards
        self._hidden = lru_cache(4096)(self._is_hidden)
        self._short = lru_cache(4096)(self._text)

    def __call__(self, key: str | None, value: object) -> object:
        """The same object if there is nothing to hide; flags, fractions and None tell nothing."""
        if key is not None and self._hidden(key) and value is not None and not isinstance(value, (bool, float)):
            return value if value in ("", self._replacement) else self._replacement
        if isinstance(value, str):
            clean = self._short(value) if len(value) <= SHORT else self._text(value)
            return value if clean == value else clean
        if self._cards and type(value) is int and self._text(digits := str(value)) != digits:
            return self._replacement
        return value

    def _text(self, value: str) -> str:
        while (clean := self._pass(value)) != value:  # until nothing is found: a cut may lay bare the start of the next secret
            value = clean
        return value

    def _pass(self, value: str) -> str:
        for pattern in self._patterns.possible(value):
            if pattern.search(value) is not None:
                value = self._apart(value, partial(pattern.sub, self._cut))
        return self._apart(value, self._without_cards) if self._cards and CARD.search(value) is not None else value

    def _apart(self, value: str, cut: Callable[[str], str]) -> str:
        """What stands here for a secret already is left alone."""
        parts = value.split(self._replacement) if self._replacement else [value]
        return self._replacement.join(map(cut, parts))

    def _cut(self, match: re.Match[str]) -> str:
        start, end = match.span(match.lastindex or 0)
        if start == end:
            return match[0]
        return match.string[match.start() : start] + self._replacement + match.string[end : match.end()]

    def _without_cards(self, value: str) -> str:
        kept, at, position = [], 0, 0
        while (match := CARD.search(value, position)) is not None:
            position = match.start() + 1  # after a wrong one, the right one may begin inside it
            if _luhn(match[0]):
                kept.append(value[at : match.start()])
                at = position = match.end()
        return self._replacement.join((*kept, value[at:]))

    def _is_hidden(self, key: str) -> bool:
        return _letters(key).endswith(self._endings)


class Redaction:
    """The processor that `redact` returns."""

    def __init__(self, secrets: Secrets, callback: Redactor | None) -> None:
        self._redactors: tuple[Redactor, ...] = (secrets,) if callback is None else (callback, secrets)
        self._harmless = lru_cache(4096, typed=True)(self._is_harmless)  # the same few entries come with every run

    def __call__(self, record: Record) -> Record:
        """The record, or a copy without what is secret. A `Finished.run` has been here before, as a Started."""
        match record:
            case Started(input=taken, tools=tools):
                if taken is not None:
                    taken.redact(self._redactors)
                if tools is not None:
                    tools.redact(self._redactors)
                return self._clean(record, AT_ONCE)
            case Finished(input=late, output=given, failure=failure):
                if late is not None and late is not record.run.input:
                    late.redact(self._redactors)
                if given is not None:
                    given.redact(self._redactors)
                return record if failure is None else self._failed(record, failure)
            case Noted(payload=payload):
                if payload is not None:
                    payload.redact(self._redactors)
                return record
            case Scored():
                return self._clean(record, ("comment", "value") if isinstance(record.value, str) else ("comment",))

    def _failed(self, record: Finished, failure: Failure) -> Finished:
        clean = self._clean(failure, ("message", "stack"))
        return record if clean is failure else replace(record, failure=clean)

    def _clean(self, record: R, names: Iterable[str]) -> R:
        changes: dict[str, Any] = {}
        for name in names:
            if (value := getattr(record, name)) and (clean := self._safely(value)) is not value:
                changes[name] = clean
        return replace(record, **changes) if changes else record

    def _safely(self, value: object) -> object:
        """Of its own type still: the types of a record's fields are promises."""
        try:
            return self._walk(None, value, self._redactors)
        except Exception:
            match value:
                case Mapping():
                    return {"redaction": REDACTION_FAILED}
                case str():
                    return REDACTION_FAILED
                case _:
                    return ()

    def _walk(self, key: str | None, value: object, pending: tuple[Redactor, ...]) -> object:
        """As `payloads.plain` does it, but what is clean keeps its type and its identity."""
        for position, redactor in enumerate(pending, 1):
            if (changed := redactor(key, value)) is not value:
                return self._walk(key, changed, pending[position:])
        match value:
            case Message():
                value.redact(self._redactors)
                return value
            case Mapping():
                return value if self._known(value) else self._mapping(value, pending)
            case list() | tuple():
                items = [self._walk(None, v, pending) for v in value]
                clean = items if isinstance(value, list) else tuple(items)
                return value if all(map(operator.is_, items, value)) else clean
            case _:
                return value

    def _mapping(self, value: Mapping[object, object], pending: tuple[Redactor, ...]) -> Mapping[object, object]:
        clean = {self._walk(None, k, pending): self._walk(str(k), v, pending) for k, v in value.items()}
        return value if all(k in clean and clean[k] is v for k, v in value.items()) else clean

    def _known(self, value: Mapping[object, object]) -> bool:
        if len(self._redactors) > 1:  # a callback may answer anew each time
            return False
        for key, item in value.items():
            long = isinstance(item, str) and len(item) > SHORT
            if long or type(item) not in SCALARS or type(key) is not str or not self._harmless(key, item):
                return False
        return True

    def _is_harmless(self, key: str, value: object) -> bool:
        (secrets,) = self._redactors
        return secrets(None, key) is key and secrets(key, value) is value


def _letters(key: str) -> str:
    return "".join(filter(str.isalnum, key)).lower().rstrip("0123456789")


def _luhn(text: str) -> bool:
    """Whether the check digit is right; ISO/IEC 7812-1, annex B."""
    digits = [int(c) for c in reversed(text) if c.isdigit()]
    return sum(digits[0::2]) % 10 == -sum(sum(divmod(2 * d, 10)) for d in digits[1::2]) % 10
