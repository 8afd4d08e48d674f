"""Damaged and hostile tables by the thousand: each becomes a catalogue, or is refused in a sentence.

    python -m benchmarks.fuzz_tables --count 10000

Rows of the real catalogues in MMCLF_REAL_DATA (default ../shared/data), or of the demo's shop where there are none, are
mutated as bytes: quotes, separators and line ends, encodings and byte order marks, NULs, fields of megabytes, wide
headers, missing and doubled pieces, labels that are none, files cut and compressed. A seed and a number give the same
table again. Ends with one line, and with exit code 1 where a table ended in anything but a catalogue or an MmclfError,
took a core longer than 5 s, or the process more than 1 GiB. A table that doesn't end within a minute ends the process
with its traceback.
"""

import argparse
import faulthandler
import gzip
import random
import resource
import sys
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.catalog import draw_catalog
from mmclf.config import DataConfig
from mmclf.data.catalog import read_catalog
from mmclf.errors import MmclfError

from .bench import DATA

CATALOGUES = ("luma", "openclipart", "items")
SECONDS, MIB, HANGS = 5.0, 1024, 60.0
LONGEST_MESSAGE = 2500
ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "latin-1", "cp1251", "cp1252", "utf-7", "utf-8-sig", "shift-jis")
# what means something to a parser
TOKENS = (b'"', b'""', b'"""', b'"\n"', b",", b",,,,", b"\n", b"\r", b"\r\n\r\n", b"\0", b"\x1a", b"\xff", b"\\", b"'")
TOKENS += (b";", b"\t", b"|", b" ", "\ufeff\u200b\u2028".encode(), b"\xc0\x80", b"\xed\xa0\x80", b"=1+1")
WORDS = (b"NaN", b"None", b"NULL", b"n/a", b"", b" ", b"1.0", b"1e999", b"../../x", b"-", b"id", b"\xe2\x80\xae")

Mutation = Callable[[random.Random, bytes], bytes]


@dataclass(frozen=True)
class Source:
    """A catalogue whose rows are mutated: the lines of its table, the header first, and the folder of its pictures."""

    lines: list[bytes]
    images: Path


@dataclass(frozen=True)
class Mutant:
    """A table: its file name, its content, and whose pictures belong to it."""

    name: str
    content: bytes
    images: Path


def sources(folder: Path) -> list[Source]:
    """The real catalogues, or a shop that is drawn into this folder."""
    tables = [(DATA / name / "train.csv", DATA / name / "images") for name in CATALOGUES]
    if not all(table.is_file() for table, _ in tables):
        shop = draw_catalog(folder / "shop", rows_per_class=6, test_rows_per_class=1)
        tables = [(shop.train_csv, shop.images)]
    return [Source(table.read_bytes().splitlines(keepends=True), images) for table, images in tables]


def mutants(found: Sequence[Source], seed: int, count: int) -> Iterator[Mutant]:
    """The tables; the same for the same seed and sources, whatever the count."""
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")  # noqa: S311 - no secret
        source = rng.choice(found)
        rows = rng.sample(source.lines[1:], min(len(source.lines) - 1, rng.choice((5, 50, 50, 400))))
        content = source.lines[0] + b"".join(rows)
        for _ in range(rng.choice((1, 1, 1, 1, 2, 4))):
            if len(content) < 2**20:  # to take apart a larger one needs more memory than to read it
                content = rng.choice(MUTATIONS)(rng, content)
        name = "train.csv"
        if rng.random() < 0.1:
            name, content = "train.csv.gz", rng.choice((_flip, _cut, _whole))(rng, gzip.compress(content))
        yield Mutant(name, content, source.images)


def attempt(mutant: Mutant, folder: Path, number: int) -> str:
    """What became of a table: "read", "warned" or "refused".

    Raises:
        AssertionError: what is said isn't a sentence.
        Exception: anything that a user should never see.
    """
    path = folder / mutant.name
    path.write_bytes(mutant.content)
    try:
        catalog = read_catalog(path, mutant.images, DataConfig(), training=number % 3 > 0)
    except MmclfError as error:
        said = str(error)
        if not said.startswith((f"{path}: ", f"{mutant.images}: ")) or len(said) > LONGEST_MESSAGE:
            raise AssertionError(f"what it says of table {number} is no sentence: {said[:500]!r}") from error
        return "refused"
    catalog.digest()
    return "warned" if catalog.warnings else "read"


def main(argv: Sequence[str] | None = None) -> int:
    """Read them all; returns the exit code."""
    parser = argparse.ArgumentParser(description="read damaged and hostile tables")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    outcomes: Counter[str] = Counter()
    longest, slowest = 0.0, 0
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="mmclf-fuzz-") as name:
        for number, mutant in enumerate(mutants(sources(Path(name)), args.seed, args.count)):
            faulthandler.dump_traceback_later(HANGS, exit=True, file=sys.__stderr__)
            before = time.process_time()
            outcomes[attempt(mutant, Path(name), number)] += 1
            seconds = time.process_time() - before  # other programs have no part in it
            if seconds > longest:
                longest, slowest = seconds, number
    faulthandler.cancel_dump_traceback_later()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{args.count:,} tables of seed {args.seed} in {time.perf_counter() - begin:.0f} s: {outcomes['read']:,} read, "
        f"{outcomes['warned']:,} read with warnings, {outcomes['refused']:,} refused; longest {longest:.2f} s (number "
        f"{slowest}), at most {peak:.0f} MiB of memory"
    )
    return int(longest > SECONDS or peak > MIB)


def _whole(_: random.Random, content: bytes) -> bytes:
    return content


def _flip(rng: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randint(1, 20) if content else 0):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _cut(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.randint(0, len(content))]


def _insert(rng: random.Random, content: bytes) -> bytes:
    """Tokens that mean something to a parser, anywhere."""
    for _ in range(rng.choice((1, 1, 2, 10))):
        place = rng.randint(0, len(content))
        content = content[:place] + rng.choice(TOKENS) + content[place:]
    return content


def _stray_quotes(rng: random.Random, content: bytes) -> bytes:
    """A quote at the beginning of a field, and one further on."""
    start = content.find(b",", rng.randint(0, len(content))) + 1
    end = rng.randint(start, min(len(content), start + rng.choice((50, 500, 5000))))
    return content[:start] + b'"' + content[start:end] + b'"' + content[end:]


def _reencode(rng: random.Random, content: bytes) -> bytes:
    return content.decode("utf-8", "replace").encode(rng.choice(ENCODINGS), "replace")


def _mojibake(_: random.Random, content: bytes) -> bytes:
    return content.decode("latin-1").encode()


def _decompose(_: random.Random, content: bytes) -> bytes:
    """The same table twice over, once in the other Unicode form."""
    return content + unicodedata.normalize("NFD", content.decode("utf-8", "replace")).encode()


def _separate(rng: random.Random, content: bytes) -> bytes:
    return content.replace(b",", rng.choice((b";", b"\t", b"|", b", ", b",,", b'","', b"")))


def _end_lines(rng: random.Random, content: bytes) -> bytes:
    return content.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\n", b"\n\r", b"", b",\n", b'"\n', b"\0\n")))


def _unquote(rng: random.Random, content: bytes) -> bytes:
    return content.replace(b'"', rng.choice((b"", b"'", b'""', b'\\"', "„".encode())), rng.choice((1, 3, -1)))


def _swell(rng: random.Random, content: bytes) -> bytes:
    """A field, a line or a header of megabytes."""
    piece = rng.choice((b"x", b",", b'"', b"\n", b"ab ", b"\n,", b'"\n', "ß".encode(), b"\0", b"a,b,c,d\n"))
    place = rng.choice((0, len(content), rng.randint(0, len(content)), content.find(b"\n")))
    return content[:place] + piece * (rng.choice((2**16, 2**18, 2**21, 2**23)) // len(piece)) + content[place:]


def _widen(rng: random.Random, content: bytes) -> bytes:
    """More columns than anybody has, in the header or everywhere."""
    end = content.find(b"\n")
    more = b"".join(b",c%d" % number for number in range(rng.choice((100, 2000, 16_000, 300_000))))
    return content[:end] + more + content[end:]


def _lines(rng: random.Random, content: bytes) -> bytes:
    """Lines in another order, some twice, some not at all; half of the time the header stays."""
    head, *rest = content.splitlines(keepends=True) or [b""]
    if rng.random() < 0.5:
        return head + b"".join(rng.choices(rest or [b""], k=len(rest)))
    return b"".join(rng.choices([head, *rest], k=len(rest) + 1))


def _cells(rng: random.Random, content: bytes) -> bytes:
    """Cells that hold another word."""
    cells = content.split(b",")
    for _ in range(rng.choice((1, 3, 30))):
        place = rng.randrange(len(cells))
        end = cells[place].find(b"\n")
        cells[place] = rng.choice(WORDS) + (cells[place][end:] if end >= 0 else b"")
    return b",".join(cells)


MUTATIONS: tuple[Mutation, ...] = (
    *(_flip, _cut, _insert, _insert, _stray_quotes, _stray_quotes, _reencode, _mojibake, _decompose, _separate),
    *(_end_lines, _unquote, _swell, _widen, _lines, _cells, _cells),
)


if __name__ == "__main__":
    sys.exit(main())
