"""What secrets look like, and a quick way to see that a text holds none."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

EMAIL: Final = r"(?<![\w.%+-])[\w.%+-]++@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,63}"
CARD: Final = re.compile(r"(?<!\d)(?:\d{13,19}|(?:\d{4}[ -]){3}\d{1,7}|\d{4}[ -]\d{6}[ -]\d{4,5})(?!\d)")
"""13 to 19 digits in a row, or in the groups that are printed on cards; ISO/IEC 7812."""
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


class Patterns:
    """Some patterns, and which of them a text may hold."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Raises ValueError for a pattern with more than one group or that matches the empty text, re.error for what is none."""
        self._patterns = [(_needed(pattern), _hint(pattern), _checked(pattern)) for pattern in patterns]
        self._with = lru_cache(2 ** len(_RARE))(self._with_rare)

    def possible(self, text: str) -> list[re.Pattern[str]]:
        """The patterns that may match: hardly any, and that is found in a fraction of the time of their own searches."""
        low = text.lower()
        rare = [one for one in filter(text.__contains__, _RARE) if one not in _HEADS or _HEADS[one].search(text)]
        return [pattern for hint, pattern in self._with("".join(rare)) if hint is None or hint.search(low)]

    def _with_rare(self, rare: str) -> list[tuple[re.Pattern[str] | None, re.Pattern[str]]]:
        """Those that may match a text in which these rare characters tell something, and what else it must hold."""
        return [(hint, pattern) for needed, hint, pattern in self._patterns if not needed or not set(rare).isdisjoint(needed)]


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
