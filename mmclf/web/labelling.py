"""Uploads that are labelled in the background, each for whoever knows its name.

A labelling takes its turn at the model after each batch, so that a single product is answered meanwhile.
"""

import secrets
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from ..errors import BusyError, MmclfError, RowError
from ..evaluation.probabilities import UNASSIGNED, ProbabilityTable, write_parts
from ..scoring.limits import Allowance, Limits
from ..scoring.requests import RowScorer
from .uploads import Upload

BATCHES = 2  # that are scored between two looks at how far it is
SHOWN = 12  # rows that the page shows
MOST = 8  # uploads at a time
IDLE_SECONDS = 60  # after which an upload that nobody asks for gives way to another one


class Stage(StrEnum):
    """How far an upload is."""

    RECEIVING = "receiving"
    WORKING = "working"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class Line:
    """A row as the page shows it."""

    id: str
    label: str
    confidence: float


@dataclass
class Progress:
    """What is known of a labelling.

    Attributes:
        stage: see there.
        done, rows: how many rows are scored, of how many.
        assigned: how many of them have a label.
        seconds_left: about; None before that is known.
        lines: the first few rows.
        notes: sentences on what was left out or can't be read.
        error: why it failed, a sentence.
    """

    stage: Stage = Stage.RECEIVING
    done: int = 0
    rows: int = 0
    assigned: int = 0
    seconds_left: float | None = None
    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str = ""


class Labelling:
    """One upload, and what becomes of it.

    Attributes:
        name: unguessable.
        upload: its files.
        progress: of its labelling.
        result: the CSV, once it is done.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        """In a folder of its own, which is made."""
        self.name = secrets.token_urlsafe(16)
        self._folder = folder / self.name
        (self._folder / "upload").mkdir(parents=True)
        self.upload = Upload(self._folder / "upload", limits)
        self.progress = Progress()
        self.result = self._folder / "labelled.csv"
        self.touched = time.monotonic()
        self._allowance = Allowance()
        self._thread: threading.Thread | None = None

    def start(self, scorer: RowScorer, precision: float) -> None:
        """Begin with the labelling.

        Raises:
            RowError: it has begun already, or there is no such precision.
        """
        least = scorer.mixture.least_confidence(precision)
        if self.progress.stage is not Stage.RECEIVING:
            raise RowError("these files are being labelled already; send them again for another precision")
        self.progress.stage = Stage.WORKING
        self._thread = threading.Thread(target=self._work, args=(scorer, least), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Give it up and forget its files."""
        self._allowance.give_up()
        if self._thread is not None:
            self._thread.join()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def is_working(self) -> bool:
        """Whether it needs the model."""
        return self.progress.stage is Stage.WORKING

    def _work(self, scorer: RowScorer, least: float) -> None:
        try:
            self._label(scorer, least)
            self.progress.stage = Stage.DONE
        except MmclfError as error:
            self._fail(self.upload.clean(str(error)))
        except Exception as error:  # the page shows no traceback; the log has it
            traceback.print_exc(file=sys.stderr)
            self._fail(f"the labelling failed ({type(error).__name__}); the log of the app says where")

    def _fail(self, sentence: str) -> None:
        self.progress.error, self.progress.stage = sentence, Stage.FAILED

    def _label(self, scorer: RowScorer, least: float) -> None:
        progress, meta, infer = self.progress, scorer.mixture.meta, scorer.config.infer
        found = self.upload.read(scorer.config.data, scorer.text_cols)
        rows = found.rows
        progress.notes.extend(found.notes)
        progress.rows = len(rows)
        step = BATCHES * infer.batch_size
        since = time.monotonic()
        with write_parts(self._folder / "all.parquet", self.result, meta.id_col, meta.label_col, least) as write:
            for start in range(0, len(rows), step):
                part = rows.slice(start, start + step)
                scored = scorer.score_rows(part, tta=infer.tta, batch_size=infer.batch_size, allowance=self._allowance)
                self._allowance.check()
                table = ProbabilityTable(part.ids, scorer.classes, scored.probabilities)
                write(table)
                self._note(table, least, scored.problems)
                progress.done = start + len(part)
                progress.seconds_left = (time.monotonic() - since) / progress.done * (len(rows) - progress.done)

    def _note(self, table: ProbabilityTable, least: float, problems: dict[int, str]) -> None:
        progress = self.progress
        for row, sure in enumerate(table.probabilities.max(axis=1)):
            is_sure = bool(sure >= least)
            progress.assigned += is_sure
            if len(progress.lines) < SHOWN:
                label = table.classes[int(table.probabilities[row].argmax())] if is_sure else UNASSIGNED
                progress.lines.append(Line(table.ids[row], label, float(sure)))
        for sentence in problems.values():
            if len(progress.notes) < SHOWN:
                progress.notes.append(f"{self.upload.clean(sentence)}; its row counts as one without it")


class Labellings:
    """The uploads of everybody, at most MOST; to be used by one thread."""

    def __init__(self, folder: Path, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            folder: that their folders are made in.
            limits: of each.
            clock: seconds.
        """
        self._folder, self._limits, self._clock = folder, limits, clock
        self._all: dict[str, Labelling] = {}

    def make(self) -> Labelling:
        """A new one; where there are too many, in the place of one that nobody asks for any more.

        Raises:
            BusyError: all are in use.
        """
        if len(self._all) >= MOST:
            idle = [each for each in self._all.values() if not each.is_working]
            oldest = min(idle, key=lambda each: each.touched, default=None)
            if oldest is None or self._clock() - oldest.touched < IDLE_SECONDS:
                raise BusyError(f"{MOST} tables are being labelled; try again in a minute")
            self._all.pop(oldest.name).stop()
        made = Labelling(self._folder, self._limits)
        made.touched = self._clock()
        self._all[made.name] = made
        return made

    def find(self, name: str) -> Labelling:
        """The one of this name.

        Raises:
            RowError: there is none any more.
        """
        if name not in self._all:
            raise RowError("these files aren't here any more; send them again")
        found = self._all[name]
        found.touched = self._clock()
        return found

    def take_out(self, name: str) -> Labelling | None:
        """The one of this name, which nobody finds any more; to be stopped, which may take a batch."""
        return self._all.pop(name, None)

    def close(self) -> None:
        """Give all up."""
        while self._all:
            self._all.popitem()[1].stop()
