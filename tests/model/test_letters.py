"""Words of scripts that a tokenizer has no words of reach it in Latin letters, everything else as it is.

.venv/bin/python -m pytest tests/model/test_letters.py
"""

import pytest
import torch
from transformers import BertTokenizerFast

from mmclf.model.identity import tokenizer_digest
from mmclf.model.letters import LEAST_PIECES, Letters
from mmclf.model.loading import load_backbone, load_tokenizer
from mmclf.model.token_counts import TokenCounter
from tests.towers import WORDS, make_dual


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("красная рубашка 7,62 мм", "krasnaya rubashka 7,62 mm"),
        ("Ελλάδα", "Ellada"),
        ("한국 shirt", "hangug shirt"),
        ("कपास", "kpas"),
        # one letter is a symbol; marks of Latin letters, ideographs and kana tell more as they are
        ("β-carotene 5 μg", "β-carotene 5 μg"),
        ("Größe: naïve café", "Größe: naïve café"),
        ("红色衬衫 シャツ しゃつ", "红色衬衫 シャツ しゃつ"),
        ("€ 5 – ½ “x” 👕", "€ 5 – ½ “x” 👕"),
        ("", ""),
    ],
)
def test_what_a_tokenizer_without_such_words_is_given(text, read):
    assert Letters(frozenset()).rewrite(text) == read


def test_a_script_that_it_has_words_of_is_left():
    letters = Letters(frozenset({"Cyrillic"}))
    assert letters.rewrite("рубашка Ελλάδα") == "рубашка Ellada"
    assert letters.reads("Cyrillic")
    assert letters.reads("Latin")
    assert not letters.reads("Greek")


@pytest.mark.parametrize("words", [LEAST_PIECES, LEAST_PIECES - 1])
def test_its_vocabulary_says_what_it_knows(words, tmp_path):
    """As many long pieces as that, letters and pairs of them not counted."""
    folder = make_dual(tmp_path / "dual")
    long = [f"##сло{chr(ord('а') + n % 32)}{chr(ord('а') + n // 32)}" for n in range(words)]
    short = [chr(ord("а") + n) for n in range(32)] + [f"##ж{chr(ord('а') + n)}" for n in range(32)]
    (folder / "vocab.txt").write_text("\n".join([*WORDS, *long, *short]) + "\n")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    letters = Letters.of(load_tokenizer(f"local-dir:{folder}"))
    assert letters.reads("Cyrillic") == (words == LEAST_PIECES)


def test_the_bytes_of_a_byte_level_vocabulary_are_letters(monkeypatch):
    """As RoBERTa's, whose pieces are bytes shown as other letters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    words = [a + b + c for a in "бвгдж" for b in "аеиоу" for c in "клмнр"]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    backend.train_from_iterator(words * 3, trainer)

    class Inner:
        backend_tokenizer = backend

    class Outer:
        tokenizer = Inner

    assert Letters.of(Outer()).reads("Cyrillic")
    assert not Letters.of(Outer()).reads("Greek")


def test_clips_own_tokenizer_reads_texts_as_they_are():
    letters = Letters.of(load_tokenizer("ViT-B-32-quickgelu"))
    assert letters.rewrite("красная рубашка Ελλάδα") == "красная рубашка Ελλάδα"
    assert letters.reads("Cyrillic")
    assert not TokenCounter("ViT-B-32-quickgelu").rewrites("Cyrillic")


def test_a_backbone_reads_them_so(tmp_path):
    """The tiny vocabulary knows `red` and `shirt`: in other letters they are the same words."""
    backbone = load_backbone(f"local-dir:{make_dual(tmp_path / 'dual')}", None, 64)
    latin, cyrillic = (backbone.tokenize([text], 16).input_ids for text in ("red shirt", "ред shirt"))
    assert torch.equal(latin, cyrillic)
    counter = TokenCounter(f"local-dir:{tmp_path / 'dual'}")
    assert counter.rewrites("Cyrillic")
    lengths, unknown = counter(["ред shirt", "衬衫"])
    assert lengths[0] == 4
    assert unknown.tolist()[0] == 0
    assert unknown[1] > 0


def test_features_that_were_read_by_other_rules_are_others(tmp_path, monkeypatch):
    tokenizer = load_tokenizer(f"local-dir:{make_dual(tmp_path / 'dual')}")
    before = tokenizer_digest(tokenizer, "dual")
    monkeypatch.setattr("mmclf.model.identity.RULES", "others")
    assert tokenizer_digest(tokenizer, "dual") != before
