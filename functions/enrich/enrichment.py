"""What a text is about: language, key words, entities, readability, a summary sentence. Standard library, no model.

Every answer is a plain function of the text: the same text gives the same facts, in any environment.
"""

from __future__ import annotations

import re
from collections import Counter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ANALYSED_CHARS = 200_000
"""Characters that are looked at; the rest of a book does not change what it is about."""
MAX_ENTITIES = 50
"""Entities of one kind that are kept, in order of appearance."""
MAX_KEYWORDS = 10
LONG_WORD = 6
"""Letters above which the LIX formula counts a word as long."""

_FREQUENT = {
    "en": (
        "the of and to in is that it for was on are as with be at by this have from or had not but what "
        "all were when we there can an your which their if will each about how up out them then she many "
        "some so these would other into has more two like him see could no than first been its who now "
        "our after do was us you i he they his her my me"
    ),
    "de": (
        "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an "
        "werden aus er hat dass sie nach wird bei einer um am sind noch wie einem über einen so zum war "
        "haben nur oder aber vor zur bis mehr durch man sein wurde wir ich ihr ihre ihnen wenn kann bitte "
        "haben sie mir uns falls"
    ),
    "fr": (
        "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont "
        "avec son ou comme mais nous on aux sa ses elle cette ont été leur deux sans fait je vous même si "
        "tout entre être ci il est"
    ),
    "es": (
        "de la que el en y a los se del las un por con no una su para es al lo como más o pero sus le ha "
        "me si sin sobre este ya entre cuando todo esta ser son dos también fue había era muy hasta desde "
        "nos durante cada"
    ),
    "it": (
        "di e il la che in un a per è una sono con non del si da al le dei come i nel più alla ma lo gli "
        "della o anche ha ci questo se su era delle suo due stato essere tra quando dalla"
    ),
    "nl": (
        "de het een van en in is dat op te zijn voor met niet aan er om ook als maar bij dan naar uit "
        "door over ze zich wordt heeft nog worden wel geen deze of meer kan tot hij je we dit al wat"
    ),
    "pt": (
        "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das "
        "tem à seu sua ou ser quando muito há nos já está eu também só pelo pela até isso ela entre"
    ),
    "sv": (
        "och i att det som en på är av för med till den har de inte om ett men var sig så vi kan man när "
        "år säger från nu över sedan ska efter också mot där få eller än vara hade"
    ),
}
STOP_WORDS = {code: frozenset(words.split()) for code, words in _FREQUENT.items()}
"""The most frequent words of each language that is told apart."""

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n{2,}|\f")
_MONTHS = (
    "january|february|march|april|may|june|july|august|september|october|november|december|"
    "januar|februar|märz|mai|juni|juli|oktober|dezember|"
    "janvier|février|mars|avril|juin|juillet|août|septembre|octobre|novembre|décembre|"
    "enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre"
)
_ENTITIES: dict[str, re.Pattern[str]] = {
    "dates": re.compile(
        r"\b(?:(?:19|20)\d{2}-\d{2}-\d{2}|\d{1,2}\.\d{1,2}\.(?:19|20)\d{2}|\d{1,2}/\d{1,2}/(?:19|20)\d{2}"
        rf"|\d{{1,2}}(?:er|\.)? (?:de )?(?:{_MONTHS})(?: (?:de )?(?:19|20)\d{{2}})?)\b",
        re.IGNORECASE,
    ),
    "amounts": re.compile(
        r"(?:(?:EUR|USD|GBP|CHF|€|\$|£) ?\d{1,3}(?:[.,' ]?\d{3}){0,4}(?:[.,]\d{1,2})?"
        r"|\b\d{1,3}(?:[.,' ]?\d{3}){0,4}(?:[.,]\d{1,2})? ?(?:EUR|USD|GBP|CHF|€|\$|£))(?!\w)"
    ),
    "emails": re.compile(r"\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,5}\b"),
    "percentages": re.compile(r"\b\d{1,3}(?:[.,]\d{1,2})?\s?(?:%|percent|Prozent|pour cent)"),
    "identifiers": re.compile(r"\b[A-Z]{2,6}-\d{2,4}(?:-\d{2,6})?\b"),
}


def enrich(text: str) -> dict[str, Any]:
    """Everything at once: `{language, confidence, words, sentences, keywords, entities, lix, summary}`."""
    text = text[:ANALYSED_CHARS]
    words = [word.lower() for word in _WORD.findall(text)]
    sentences = split_sentences(text)
    language, confidence = guess_language(words)
    keywords = key_words(words, language)
    return {
        "language": language,
        "confidence": confidence,
        "words": len(words),
        "sentences": len(sentences),
        "keywords": keywords,
        "entities": entities(text),
        "lix": lix(words, len(sentences)),
        "summary": summary(sentences, keywords),
    }


def guess_language(words: list[str]) -> tuple[str, float]:
    """The language whose frequent words cover most of the text, and by how much it leads (0 to 1).

    `und` (undetermined) when hardly any word is a frequent one: tables, code, lists of names.
    """
    if not words:
        return "und", 0.0
    hits = {code: sum(word in common for word in words) / len(words) for code, common in STOP_WORDS.items()}
    ranked = sorted(hits.items(), key=lambda item: (-item[1], item[0]))
    (best, share), (_, second) = ranked[0], ranked[1]
    if share < 0.08:
        return "und", 0.0
    return best, round((share - second) / share, 3)


def key_words(words: list[str], language: str) -> list[str]:
    """The words that carry the text: frequent, long, and not among the frequent words of its language."""
    common = STOP_WORDS.get(language, frozenset()) | STOP_WORDS["en"]
    counts = Counter(word for word in words if len(word) > 3 and word not in common)
    # A longer word says more; the order of equal scores is that of the alphabet, so that it is always the same.
    ranked = sorted(counts.items(), key=lambda item: (-item[1] * min(len(item[0]), 12), item[0]))
    return [word for word, _ in ranked[:MAX_KEYWORDS]]


def entities(text: str) -> dict[str, list[str]]:
    """Dates, amounts, mail addresses, percentages and identifiers, each once, in order of appearance."""
    found = {}
    for kind, pattern in _ENTITIES.items():
        seen = dict.fromkeys(" ".join(match.group(0).split()) for match in pattern.finditer(text))
        found[kind] = list(seen)[:MAX_ENTITIES]
    return found


def split_sentences(text: str) -> list[str]:
    """Sentences with at least three words, on one line each."""
    parts = (" ".join(part.split()) for part in _SENTENCE_END.split(text))
    return [part for part in parts if len(_WORD.findall(part)) >= 3]


def lix(words: list[str], sentences: int) -> float:
    """Readability (Björnsson's LIX): words per sentence plus the percentage of long words; 0.0 without words.

    Below 30 is easy, 40 a newspaper, above 60 hard, in any language that writes words apart.
    """
    if not words:
        return 0.0
    long_words = sum(len(word) > LONG_WORD for word in words)
    return round(len(words) / max(1, sentences) + 100 * long_words / len(words), 1)


def summary(sentences: list[str], keywords: list[str]) -> str:
    """The sentence that says most: most key words for its length, the earliest of equals. Empty without sentences."""
    weights = {word: len(keywords) - place for place, word in enumerate(keywords)}

    def score(sentence: str) -> float:
        words = {word.lower() for word in _WORD.findall(sentence)}
        return sum(weights.get(word, 0) for word in words) / (8 + len(words))

    best = max(sentences, key=score, default="")
    return best[:300]
