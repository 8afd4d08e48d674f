"""A few of the pictures that `python -m benchmarks.fuzz_pictures` makes by the thousand.

.venv/bin/python -m pytest tests/data/test_mutated_pictures.py
"""

from itertools import islice

from benchmarks.fuzz_pictures import attempt, mutants, originals


def test_the_originals_are_decoded():
    assert all(attempt(content, number) for number, content in enumerate(originals()))


def test_the_same_seed_makes_the_same_files():
    assert list(islice(mutants(3, 50), 20)) == list(mutants(3, 20))
    assert len(set(mutants(3, 50))) > 45
    assert list(mutants(4, 20)) != list(mutants(3, 20))


def test_each_is_decoded_or_refused_in_a_sentence():
    decoded = sum(attempt(content, number) for number, content in enumerate(mutants(1, 300)))
    assert 20 < decoded < 280
