"""redact(): what must not be seen is taken out before any sink sees it.

Inputs and outputs are not read here: they are given a redactor that works when a sink first reads them (`payloads.py`).
Metadata, parameters and the text of failures are small and are redacted at once.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from langgraph_observe.payloads import REDACTION_FAILED, Message
from langgraph_observe.records import Failure, Finished, Noted, Scored, Started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from langgraph_observe.records import Payload, Processor, Record, Redactor

DEFAULT_KEYS: Final = (
    *("authorization", "cookie", "cookies", "set_cookie", "password", "passwd", "pwd", "passphrase", "secret", "secrets", "token"),
    *("api_key", "access_key", "secret_key", "private_key", "signing_key", "encryption_key", "credential", "credentials"),
    "connection_string",
)
"""A key is hidden when it ends with one of these, case, separators and final digits aside: so `OPENAI_API_KEY`, `x-api-key`,
`clientSecret` and `password2` are, while `max_tokens` and `secretary` are not."""

_QUOTE: Final = r"""["'\\]"""
_BARE: Final = r"""[^\s"'\\,;&=]"""
_WORDY: Final = rf"(?:{_BARE}{{1,200}}[ \t]{{0,3}}(?:\n|\Z)|(?={_BARE}{{0,63}}[0-9]){_BARE}{{8}}|{_BARE}{{24}}|[\"'])"


def _quoted(quote: str) -> str:
    """The inside of a string, to the quote that closes it, with the escapes in it; behind the opening quote.

    As JSON in JSON, where quotes are written with one backslash, and as JSON in that, with three.
    """
    twice = rf"(?<=\\\\\\{quote})(?:[^{quote}\\\n]|\\++(?![{quote}\\])|\\{{4,}}+{quote})+"
    once = rf"(?<=\\{quote})(?:[^{quote}\\\n]|\\(?:[^{quote}\\]|\\(?:[^{quote}\\]|\\[{quote}\\])))+"
    return rf"{twice}|{once}|(?<={quote})(?:[^{quote}\\\n]|\\.)+"


_ASSIGNED: Final = (
    r"(?i:password|passwd|passphrase|pwd|secret|secret[_-]?(?:access[_-]?)?key|token|(?:api|access|account|private)[_-]?key)"
    rf"(?:{_QUOTE}{{1,4}}[ \t]{{0,3}}[:=]|[ \t]{{0,3}}=|(?:(?<=(?i:word|sswd|rase))|(?<=(?i:key|pwd))):|:(?=[ \t]{{0,3}}{_WORDY}))"
    rf"""[ \t]{{0,3}}(?:\\{{0,3}}["'])?({_quoted('"')}|{_quoted("'")}|{_BARE}[^\s"'\\,;&]*(?:'\w[^\s"'\\,;&]*)*)"""
)
"""`password=…`, `"secret": "…"`, `API_KEY='…'`, and `password: …` as in YAML. The name stays. To the closing quote, if there is one.

Of `secret: …` and `token: …` without quotes, which prose may be ("the secret: be kind"), what is alone to the end of its line,
has 8 characters and a digit, or 24.
"""
_AUTHORIZATION: Final = (
    rf"(?i:authorization){_QUOTE}{{0,4}}[ \t]{{0,3}}[:=][ \t]{{0,3}}{_QUOTE}{{0,4}}"
    rf"""(?i:bearer|basic|token|key|api-?key|negotiate|dpop)[ \t]+([^\s"'\\,;]+)"""
)
_COOKIE: Final = (
    rf"(?i:cookie){_QUOTE}{{0,4}}[ \t]{{0,3}}:[ \t]{{0,3}}{_QUOTE}{{0,4}}"
    r"""((?<=["'])[^\s"'\\=;]{1,100}=[^\n"'\\]*|[^\s"'\\=;]{1,100}=[^\n\\]*)"""
)
"""`Cookie: a=b; c=d`, to the end of the line or of the string."""
_SIGNED: Final = r"""[?&](?:[\w.-]{0,40}-)?(?i:key|sig|signature)=([^&\s"'\\#]+)"""
"""In a URL, where `key` is no word of prose: `?key=…`, `&sig=…`, `&X-Amz-Signature=…`. Tokens are hidden wherever they are assigned."""
_SLASHED: Final = r"""://[^\s/:@]{1,64}:(?!\d{1,5}/)([^\s/@"'<>][^\s"'<>?#]{0,255})@(?=[\w-]+\.[\w-]|[\w-]+:\d|localhost)"""
"""The password of a URL with a slash in it: not after what may be a port, and only before what must be a host."""
# A credential has a digit or is long: "bearer bonds" and "basic understanding" are prose
_BEARER: Final = r"(?i:bearer)[ \t]+((?=[A-Za-z._~+/-]{0,63}[0-9=]|[A-Za-z._~+/-]{24})[A-Za-z0-9._~+/=-]{8,})"
_BASIC: Final = r"(?i:basic)[ \t]+((?=[A-Za-z+/]{0,63}[0-9=]|[A-Za-z+/]{24})[A-Za-z0-9+/]{8,}+={0,2}(?![\w-]))"
DEFAULT_PATTERNS: Final = (
    r"sk-(?<![A-Za-z0-9]sk-)[A-Za-z0-9_-]{20,}",  # OpenAI, Anthropic, OpenRouter, Langfuse, and who follows them
    r"pk-lf-[A-Za-z0-9-]{20,}",  # Langfuse
    r"lsv2_[a-z]{2}_[A-Za-z0-9_]{20,}",  # LangSmith
    r"tvly-[A-Za-z0-9-]{16,}",  # Tavily
    r"hf_[A-Za-z0-9]{20,}",  # Hugging Face
    r"gsk_[A-Za-z0-9]{20,}",  # Groq
    r"xai-[A-Za-z0-9]{20,}",
    r"pplx-[A-Za-z0-9]{20,}",  # Perplexity
    r"AIza[A-Za-z0-9_-]{35,}",  # Google
    r"ya29\.[A-Za-z0-9_-]{20,}",  # Google OAuth
    r"A(?:KIA|SIA)[A-Z0-9]{16,}",  # AWS
    r"gh[pousr]_[A-Za-z0-9]{20,}",  # GitHub
    r"github_pat_[A-Za-z0-9_]{20,}",
    r"glpat-[A-Za-z0-9_-]{20,}",  # GitLab
    r"xox[a-z]-[A-Za-z0-9-]{10,}",  # Slack
    r"xapp-[A-Za-z0-9-]{10,}",
    r"k_(?:live|test)_[A-Za-z0-9]{16,}",  # Stripe; its first letter stays
    r"whsec_[A-Za-z0-9+/=]{16,}",  # Stripe's and Svix's web hooks
    r"npm_[A-Za-z0-9]{30,}",
    r"dop_v1_[a-f0-9]{32,}",  # DigitalOcean
    r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",  # SendGrid
    r"eyJ(?<![A-Za-z0-9_-]eyJ)[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?",  # a JWT
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)",
    _BEARER,
    _BASIC,
    _AUTHORIZATION,
    _COOKIE,
    _SIGNED,
    r"""://[^\s/:@]*:([^\s/@]+(?:@[^\s/@,;"'<>]+)*)@""",  # the password of a URL; the user name stays
    _SLASHED,
    _ASSIGNED,
)
"""Regular expressions. What the one group matches is replaced; without a group, all that matches.

One by one, not as one alternation: each starts with a literal, for which `re` searches ten times faster than for a choice.
"""
_HINTS: Final = {
    _ASSIGNED: (
        r"(?:password|passwd|passphrase|pwd|secret|token|key(?<=(?:pi|ss|nt|te|et|[iste][_-])key))"  # a `"key":` is no secret's
        r"""["'\\]{0,4}[ \t]{0,3}[:=]"""
    ),
    _AUTHORIZATION: "authorization",
    _COOKIE: "cookie",
    _SIGNED: r"=(?<=key=|sig=|ure=)",
    _BEARER: "bearer",
    _BASIC: "basic",
}
"""What lower-case text holds wherever these patterns match: a cheaper search to do first, for they start with no literal."""
_BEGINNING: Final = re.compile(r"[A-Za-z0-9_/:.-]+")
_RARE: Final = "_=/-:J9GIA"
"""Characters that are rare in prose, the rarest first. To look for one takes a twentieth of the time of a pattern's own search."""
_NEEDED: Final = {_ASSIGNED: "=:", _AUTHORIZATION: "=:", _COOKIE: ":", _SIGNED: "="}
"""One of these is in all that such a pattern matches, which begins with nothing that tells."""


def _needed(pattern: str) -> str:
    """Rare characters without any of which this pattern matches nothing: one that it begins with, or what the table says."""
    return _NEEDED.get(pattern) or next((character for character in _RARE if character in _beginning(pattern)), "")


def _beginning(pattern: str) -> str:
    """What a pattern of ours begins with, a dot for one of several characters. Of others' nothing is known."""
    found = _BEGINNING.match(re.sub(r"\[[a-z-]+\]", ".", pattern)) if pattern in DEFAULT_PATTERNS else None
    return found[0] if found else ""


def _heads() -> Iterator[tuple[str, re.Pattern[str]]]:
    for rare in _RARE:
        begun = [_beginning(pattern) for pattern in DEFAULT_PATTERNS if pattern not in _NEEDED and _needed(pattern) == rare]
        if begun and rare not in begun:
            yield rare, re.compile(f"{rare}(?:{'|'.join(f'(?<={head[: head.rindex(rare) + 1]})' for head in begun)})")


_HEADS: Final = dict(_heads())
"""Rare character → whether what is before it begins any of the patterns: one search for all of them, which starts with a literal."""
EMAIL: Final = r"(?<![\w.%+-])[\w.%+-]++@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,63}"
CARD: Final = re.compile(r"(?<!\d)(?:\d{13,19}|(?:\d{4}[ -]){3}\d{1,7}|\d{4}[ -]\d{6}[ -]\d{4,5})(?!\d)")
"""13 to 19 digits in a row, or in the groups that are printed on cards; ISO/IEC 7812."""
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
        self._patterns = [(_needed(pattern), _hint(pattern), _checked(pattern)) for pattern in patterns]
        self._cards = cards
        self._hidden = lru_cache(4096)(self._is_hidden)
        self._short = lru_cache(4096)(self._text)
        self._with = lru_cache(2 ** len(_RARE))(self._with_rare)

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
        for pattern in self._possible(value):
            if pattern.search(value) is not None:
                value = self._apart(value, partial(pattern.sub, self._cut))
        return self._apart(value, self._without_cards) if self._cards and CARD.search(value) is not None else value

    def _possible(self, value: str) -> list[re.Pattern[str]]:
        """The patterns that may match: hardly any, and that is found in a fraction of the time of their own searches."""
        low = value.lower()
        rare = [one for one in filter(value.__contains__, _RARE) if one not in _HEADS or _HEADS[one].search(value)]
        return [pattern for hint, pattern in self._with("".join(rare)) if hint is None or hint.search(low)]

    def _with_rare(self, rare: str) -> list[tuple[re.Pattern[str] | None, re.Pattern[str]]]:
        """The patterns that may match a text in which these rare characters tell something, and what else it must hold."""
        return [(hint, pattern) for needed, hint, pattern in self._patterns if not needed or not set(rare).isdisjoint(needed)]

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
            case Started():
                self._hook(record.input, record.tools)
                return self._clean(record, AT_ONCE)
            case Finished():
                self._hook(record.input if record.input is not record.run.input else None, record.output)
                return record if record.failure is None else self._failed(record, record.failure)
            case Noted():
                self._hook(record.payload)
                return record
            case Scored():
                return self._clean(record, ("comment", "value") if isinstance(record.value, str) else ("comment",))

    def _hook(self, *payloads: Payload | None) -> None:
        for payload in payloads:
            if payload is not None:
                payload.redact(*self._redactors)

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


def _hint(pattern: str) -> re.Pattern[str] | None:
    return re.compile(_HINTS[pattern]) if pattern in _HINTS else None


def _checked(pattern: str) -> re.Pattern[str]:
    compiled = re.compile(pattern)
    if compiled.groups > 1:
        message = f"a pattern has one group at most, for what is replaced: {pattern}"
        raise ValueError(message)
    if compiled.search(""):
        message = f"a pattern must not match the empty text, which is everywhere: {pattern}"
        raise ValueError(message)
    return compiled


def _luhn(text: str) -> bool:
    """Whether the check digit is right; ISO/IEC 7812-1, annex B."""
    digits = [int(c) for c in reversed(text) if c.isdigit()]
    return sum(digits[0::2]) % 10 == -sum(sum(divmod(2 * d, 10)) for d in digits[1::2]) % 10
