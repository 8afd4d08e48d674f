"""Findings about texts: none, cut, of one mould, or in a script that the tokenizer reads badly."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..data.scripts import script_of
from .finding import Finding, Level, Subject, counted, share_of
from .sets import members
from .similar_texts import same_texts
from .words import is_unspaced

# texts that are tokenized at most; of more a sample
MOST_TEXTS = 20_000
# tokens a character from which on a script is read in pieces smaller than letters: with spaces between words, without
PIECES, PIECES_UNSPACED = 0.75, 1.5
# share of unknown tokens, of cut texts, and of rows with a repeated title from which on it is doubtful
UNKNOWN, CUT, REPEATED = 0.05, 0.1, 0.1
# rows of a script that are enough to judge it
LEAST_ROWS = 5
# share of the texts below which a script is only noted
FEW = 0.01


@dataclass(frozen=True)
class ScriptTokens:
    """What a tokenizer makes of the texts of a script.

    Attributes:
        script: by Unicode's names, as `Latin`.
        rows: texts mostly in it.
        per_character: tokens a character.
        unknown: share of the tokens that are the unknown one, in [0, 1].
        cut: share of the texts that are longer than data.max_len, in [0, 1].
        is_bad: the tokenizer hardly knows it.
        is_rewritten: the tokenizer has no words of it and is given them in Latin letters, which the figures are of.
    """

    script: str
    rows: int
    per_character: float
    unknown: float
    cut: float
    is_bad: bool
    is_rewritten: bool


@dataclass(frozen=True)
class TextTokens:
    """Tokens of the texts of a catalogue, or of a sample of them.

    Attributes:
        rows: int64, positions of the texts.
        lengths: int64, tokens of each.
        scripts: frequent ones first.
    """

    rows: np.ndarray
    lengths: np.ndarray
    scripts: tuple[ScriptTokens, ...]


def count_text_tokens(subject: Subject) -> TextTokens | None:
    """Tokenize the texts, MOST_TEXTS at most; None where no tokenizer is at hand or there is no text."""
    texts = subject.catalog.rows.texts
    rows = np.array([row for row, text in enumerate(texts) if text], dtype=np.int64)
    if subject.count_tokens is None or not len(rows):
        return None
    if len(rows) > MOST_TEXTS:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST_TEXTS, replace=False))
    chosen = [texts[row] for row in rows]
    lengths, unknown = subject.count_tokens(chosen)
    cut = lengths > subject.config.data.max_len
    scripts = np.array([script_of(text) for text in chosen], dtype=object)
    characters = np.array([len(text) for text in chosen])
    found = []
    for script in {*scripts.tolist()} - {""}:
        here = np.flatnonzero(scripts == script)
        per_character = float(lengths[here].sum() / characters[here].sum())
        share = float(unknown[here].sum() / lengths[here].sum())
        most = PIECES_UNSPACED if is_unspaced([chosen[n] for n in here[:100]]) else PIECES
        is_bad = len(here) >= LEAST_ROWS and (per_character > most or share > UNKNOWN)
        is_rewritten = subject.count_tokens.rewrites(script)
        shares = per_character, share, float(cut[here].mean())
        found.append(ScriptTokens(script, len(here), *shares, is_bad, is_rewritten))
    return TextTokens(rows, lengths, tuple(sorted(found, key=lambda each: (-each.rows, each.script))))


def text_findings(subject: Subject, tokens: TextTokens | None) -> Iterator[Finding]:
    """All of them."""
    yield from _as_read(subject)
    yield from _missing(subject)
    if tokens is not None:
        yield from _cut(subject, tokens)
        yield from _scripts(tokens)
    yield from _repeated(subject)


def repeated(subject: Subject) -> list[np.ndarray]:
    """int64 positions of rows with the same title, or text where there is only one field; frequent ones first."""
    rows = subject.catalog.rows
    return members(same_texts(rows.titles or rows.texts))


def _as_read(subject: Subject) -> Iterator[Finding]:
    """What was seen when the table was read; labels that are alike come with the labels."""
    for sentence in subject.catalog.warnings:
        if "labels that differ only in" in sentence:
            continue
        holds = "the texts hold the answer" in sentence
        mend = "leave this column out of data.text_cols" if holds else ""
        yield Finding("answer-in-texts" if holds else "table", Level.WRONG if holds else Level.DOUBTFUL, sentence, mend)


def _missing(subject: Subject) -> Iterator[Finding]:
    texts = subject.catalog.rows.texts
    without = [row for row, text in enumerate(texts) if not text]
    if not subject.catalog.text_cols:
        yield Finding(
            "no-text-column",
            Level.DOUBTFUL,
            "No text column was found, so pictures alone are learned from",
            "data.text_cols=[...], where the table has texts",
        )
    elif without:
        doubtful = len(without) >= 0.2 * len(texts)
        yield Finding(
            "missing-texts",
            Level.DOUBTFUL if doubtful else Level.NOTE,
            f"{counted(len(without), 'row')} ({share_of(len(without), len(texts))}) have no text",
            "" if not doubtful else "see whether data.text_cols names the right columns",
            subject.ids_of(without),
        )


def _cut(subject: Subject, tokens: TextTokens) -> Iterator[Finding]:
    most = subject.config.data.max_len
    cut = tokens.lengths > most
    if cut.any():
        longest = int(np.quantile(tokens.lengths, 0.99))
        doubtful = cut.mean() >= CUT
        yield Finding(
            "cut-texts",
            Level.DOUBTFUL if doubtful else Level.NOTE,
            f"{share_of(int(cut.sum()), len(cut))} of the texts are longer than {most} tokens and are cut there; 99 % "
            f"have {longest} at most",
            f"raise data.max_len to {longest}, if the text tower reads as many (CLIP's own reads 77)"
            if doubtful
            else "",
            subject.ids_of(tokens.rows[cut]),
        )


def _scripts(tokens: TextTokens) -> Iterator[Finding]:
    for each in tokens.scripts:
        level = Level.DOUBTFUL if each.rows >= FEW * len(tokens.rows) else Level.NOTE
        multilingual = "take a backbone with a multilingual text tower (model.name)"
        if each.is_rewritten and each.rows >= LEAST_ROWS:
            yield Finding(
                "script",
                level,
                f"The tokenizer has no words of {each.script}, the script of {counted(each.rows, 'text')}, and "
                "is given them in Latin letters: names and loan words are read, most others not",
                multilingual,
            )
        elif each.is_bad:
            why = (
                f"{100 * each.unknown:.0f} % of their tokens are unknown to it"
                if each.unknown > UNKNOWN
                else f"{each.per_character:.1f} tokens a character, {100 * each.cut:.0f} % of them are cut"
            )
            yield Finding(
                "script",
                level,
                f"The tokenizer hardly knows {each.script}, the script of {counted(each.rows, 'text')}: {why}",
                f"{multilingual}, or the kernel head, which reads letters",
            )


def _repeated(subject: Subject) -> Iterator[Finding]:
    """Titles; it is doubtful where the whole texts repeat, as those of a row that has nothing but a title."""
    sets, rows = repeated(subject), subject.catalog.rows
    if not sets:
        return
    whole = sum(map(len, subject.train_sets(subject.duplicates.same_texts)))
    doubtful = whole >= REPEATED * len(rows)
    count, what = sum(map(len, sets)), "title" if rows.titles is not None else "text"
    first = (rows.titles or rows.texts)[int(sets[0][0])]
    shown = first if len(first) <= 60 else f"{first[:60]}..."
    yield Finding(
        f"repeated-{what}s",
        Level.DOUBTFUL if doubtful else Level.NOTE,
        f"{counted(count, 'row')} ({share_of(count, len(rows))}) share their {what} with another one, {whole:,} their "
        f"whole text; {shown!r} stands there {len(sets[0])} times",
        "titles that are names of files or series tell little: better ones are worth more than any setting"
        if doubtful
        else "",
        subject.ids_of(np.concatenate(sets)),
    )
