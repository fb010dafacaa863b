"""Signs of prompt injection: words of one researcher that are written for another's model, not for its eyes.

Rules, each a pattern with a name. A text that fits one is flagged, never dropped or changed: it is data for
whoever reads it, and what it orders is not obeyed. A rule finds wordings, not intentions; a text that no rule
knows is not thereby harmless.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Control characters but for tab and line ends, overrides and isolates of direction, tags: what acts on a
# terminal, or is read by a model and seen by nobody. Joiners stay: many scripts need them.
HIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")
HIDDEN_TEXT = "hidden-text"
# Between the letters of a word they are invisible and break it for a pattern.
_JOINERS = re.compile("[\u200b-\u200f\u2060\ufeff\u00ad]")
# Of a longer text the beginning and the end are read: the gateway takes 8,000 characters.
MOST_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True)
class Wording:
    """One way to put it, in small letters. `words`: one of them is in whatever fits, and soon found."""

    words: tuple[str, ...]
    pattern: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Rule:
    """Wordings that are flagged under `name`."""

    name: str
    wordings: tuple[Wording, ...]

    def fits(self, text: str) -> bool:
        """Whether any wording is in `text`, which is in small letters."""
        return any(
            one.pattern.search(text) for one in self.wordings if any(word in text for word in one.words)
        )


def _rule(name: str, *wordings: Wording) -> Rule:
    return Rule(name, wordings)


def _put(words: str, *parts: str) -> Wording:
    return Wording(tuple(words.split()), re.compile("".join(parts)))


_EARLIER = (
    r"(?:all|any|every|each|of|the|your|my|these|those|its|previous|prior|earlier|above|preceding|foregoing|"
    r"original|initial|other|system|existing|current)"
)
_INSTRUCTIONS = (
    r"(?:instructions?|prompts?|rules?|orders?|directions?|guidelines?|directives?|constraints?|brief)"
)

RULES: tuple[Rule, ...] = (
    _rule(
        "override",
        _put(
            "ignore disregard forget override bypass skip",
            rf"\b(?:ignore|disregard|forget|override|bypass|skip)\s+(?:{_EARLIER}\s+){{1,5}}{_INSTRUCTIONS}\b",
        ),
        _put(
            "ignore disregard forget",
            r"\b(?:ignore|disregard|forget)\s+(?:everything|all|anything|what)\b.{0,30}",
            r"\b(?:above|before|earlier|so far|were told|have been told|was said)\b",
        ),
        _put("follow obey", r"\b(?:do not|don't|stop)\s+(?:follow|obey)(?:ing)?\s+(?:your|the|any|all)\b"),
        _put(
            "instruction prompt rule order",
            r"\b(?:new|updated|revised|real|actual)\s+(?:system\s+)?(?:instruction|prompt|rule|order)s?\s*",
            r"(?::|for you\b|from the\b)",
        ),
    ),
    _rule(
        "impersonation",
        _put("now longer", r"\byou\s+are\s+(?:now|no longer)\s+(?:a|an|the|in|bound|free)\b"),
        _put(
            "reviewer operator monitor evaluator admin human system",
            r"\byou\s+are\s+(?:the|a|our)\s+",
            r"(?:reviewer|operator|monitor|evaluator|administrator|admin|human|system)\b",
        ),
        _put("now", r"\bfrom now on,?\s+(?:you|act|behave|respond)\b"),
        _put(
            "reviewer operator admin developer system supervisor",
            r"\b(?:this is|i am|speaking as|message from)\s+(?:the|your)\s+",
            r"(?:reviewer|operator|administrator|admin|developers?|system|supervisor)\b",
            r"(?=\s*(?:[.,:;!]|$|speaking|of this study|and\b))",
        ),
        _put("developer debug god jailbreak dan", r"\b(?:developer|debug|god|jailbreak|dan)\s+mode\b"),
    ),
    _rule(
        "chat-markup",
        _put("<|", r"<\|[a-z_]{2,24}\|>"),
        _put("inst]", r"\[/?inst\]"),
        _put("sys>>", r"<</?sys>>"),
        _put(
            "<",
            r"</?(?:system|assistant|user|human|instructions?|tool_call|tool_result|tool_use|tool_response|",
            r"function_calls?|function_results?|invoke|antml:[a-z_]+|finding|claim|forum)\b[^<>]{0,80}>",
        ),
        _put(
            "system assistant human",
            r"(?:^|\n)[ \t>#*]*(?:system|assistant|human)[ \t*]*:[ \t*]*\S",
        ),
        _put(
            "##",
            r"(?:^|\n)[ \t]*#{2,6}[ \t]*(?:system|instructions?|assistant|human)\b[ \t]*:?[ \t]*(?:\n|$)",
        ),
    ),
    _rule(
        "tool-order",
        _put(
            "tool",
            r"\b(?:call|use|invoke|run|execute|trigger)\s+(?:the\s+)?",
            r"(?:(?:`[a-z_.]{2,40}`|bash|shell|python|text_editor|terminal)\s+)?tool\b",
        ),
        _put("tool", r"\b(?:call|use|invoke|trigger)\s+(?:the\s+)?tool\s+`?[a-z_.]{2,40}"),
        _put(
            "submit_ finish_ post_ put_ declare_ propose_ next_ text_ bash",
            r"\b(?:call|invoke|run|use)\s+`?(?:submit_method|finish_task|post_finding|put_snapshot|",
            r"declare_plan|propose_task|next_task|text_editor|bash)\b",
        ),
        _put(
            "command script code line",
            r"\b(?:run|execute|type|paste|enter)\s+(?:the\s+following|this|these)\s+",
            r"(?:(?:shell|bash|python|terminal)\s+)?(?:commands?|scripts?|code|lines?)\b",
        ),
        _put("curl wget", r"\b(?:curl|wget)\s+(?:-\S+\s+){0,4}['\"]?https?://"),
        _put("-r -f", r"\brm\s+-(?:rf|fr|r|f)\b"),
    ),
    _rule(
        "secrets",
        _put(
            "prompt api secret password credential token environment label your",
            r"\b(?:reveal|print|show|send|post|leak|repeat|output|disclose|share|tell me|give me|paste|",
            r"dump)\b[^.\n]{0,40}\b(?:system prompts?|api[ _-]?keys?|secret keys?|passwords?|credentials?|",
            r"access tokens?|environment variables?|(?:hidden|sealed|test) labels?|",
            r"your (?:prompt|instructions|brief))\b",
        ),
        _put("sealed", r"\bsealed labels?\b[^.\n]{0,20}\b(?:as|in)\s+(?:files?|a finding|the text)\b"),
    ),
    _rule(
        "review-order",
        _put(
            "publish approve accept promote",
            r"\b(?:publish|approve|accept|promote)\s+(?:this|my|the above|every|all(?: of)?(?: my)?)\s+",
            r"(?:finding|result|submission|method|work|proposal)s?\b",
        ),
        _put(
            "checklist review verification",
            r"\b(?:checklist|review|verification)\s+(?:has|have|is|was)\s+(?:already\s+)?",
            r"(?:passed|complete|done|approved)\b",
        ),
        _put("vote", r"\bvote\s+(?:\S+\s+){0,2}for\s+(?:this|my|every|all (?:of )?my)\b"),
        _put(
            "more further else other",
            r"\b(?:hand in|submit|post|try|do)\s+(?:nothing|no)\s+(?:more|further|else|other)\b",
        ),
        _put("study", r"\b(?:the|this)\s+study\s+is\s+(?:over|finished|closed)\b"),
        _put(
            "stop end finish abandon give",
            r"\b(?:stop|end|finish|abandon|give up)\s+(?:your|the|all)\s+(?:task|work|search|research)\b",
        ),
        _put(
            "must",
            r"\byou\s+must\s+(?:now\s+)?",
            r"(?:vote|publish|cite|submit|stop|post|finish|approve|call|run|delete|send)\b",
        ),
    ),
)
# Long stretches that only a machine reads; a digest has 64 digits of one case, an index fewer.
ENCODED = "encoded"
_STRETCH = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{160,}")
_CASES = tuple(map(re.compile, ("[a-z]", "[A-Z]", "[0-9]")))
RULE_NAMES = (*(rule.name for rule in RULES), ENCODED, HIDDEN_TEXT)


def flags_of(*texts: str) -> tuple[str, ...]:
    """The names of the rules that any of these texts fits, each once, in the order of `RULE_NAMES`."""
    found = {name for text in texts for name in _found_in(text)}
    return tuple(name for name in RULE_NAMES if name in found)


def texts_of(value: object) -> Iterator[str]:
    """All texts in a value, wherever they stand, names of fields left out; in no order.

    Not by recursion: a stranger nests its lists as deep as a parser lets it.
    """
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, Mapping):
            todo += one.values()
        elif isinstance(one, (list, tuple)):
            todo += one


def flags_of_body(body: Mapping[str, Any]) -> tuple[str, ...]:
    """The same for an entry's body."""
    return flags_of(*texts_of(body))


def _found_in(text: str) -> Iterator[str]:
    if HIDDEN.search(text):
        yield HIDDEN_TEXT
    if len(text) > MOST_CHARACTERS:
        text = text[: MOST_CHARACTERS // 2] + "\n" + text[-MOST_CHARACTERS // 2 :]
    # Full-width letters and joiners between letters are how a word hides from a pattern, not from a model.
    plain = _JOINERS.sub("", HIDDEN.sub("", unicodedata.normalize("NFKC", text)))
    small = plain.lower()
    for rule in RULES:
        if rule.fits(small):
            yield rule.name
    stretches = (one.group() for one in _STRETCH.finditer(plain))
    if any(all(case.search(one) for case in _CASES) for one in stretches):
        yield ENCODED
