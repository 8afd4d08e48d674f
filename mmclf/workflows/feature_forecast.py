"""How long frozen towers will take over a table: remembered, or computed from their operations until they are timed."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..config import SOLVED, Config, DataConfig
from ..data.rows import Rows
from ..data.text import TEXT_TOKENS, text_sizes
from ..data.views import EVAL, count_views
from ..model.kernels import DETAILS, OF_PICTURES, features_used
from ..model.operations import Operations, count_operations
from ..model.speed_kinds import picture_kind, text_kind, towers_used
from ..runtime.device import Precision, encoding_batch, pick_device, pick_precision
from ..runtime.machine import find_machine, multiplications_per_second
from ..runtime.progress import clock, say
from . import plan
from .forecast import LONG

if TYPE_CHECKING:
    from ..model.frozen_encoder import Encoder
    from ..runtime.agenda import Agenda

# seconds to decode and resize a picture of a shop on one core
DECODE_SECONDS = 0.004
# a text token against a picture, where nothing at all is known
TOKEN_PICTURES = 0.01
# some batches are timed first where there are at least so many
WORTH_TIMING = 6
FEATURES = "features"


class FeatureForecast:
    """The passes of a table through frozen towers, planned and announced."""

    def __init__(self, job: str, config: Config, rows: Rows, *, details: bool = False) -> None:
        """
        Args:
            job: for the messages; "" to say nothing.
            config: resolved, of a stage 1.
            rows: of the table.
            details: the pictures' details are encoded too, even if its own head doesn't read them.
        """
        self._job, self._config, self._rows = job, config, rows
        self._device = pick_device()
        self._precision = pick_precision(self._device, config.train.amp)
        data, model, train = config.data, config.model, config.train
        towers = towers_used(model.name, model.pretrained, data.img_size, self._precision.name, compiled=train.compile)
        self._picture, self._text = picture_kind(towers), text_kind(towers)
        views = 0 if model.head in SOLVED else train.epochs if train.views is None else min(train.views, train.epochs)
        reads = features_used(model.kernels) if model.head == "kernel" else ["image", "text"]
        self._epochs = [*range(1, views + 1), EVAL] if OF_PICTURES & set(reads) else []
        self._details = details or bool(DETAILS & set(reads))
        self._pictures = count_views(rows, data.multi_image_mode)
        self._strings = [rows.texts] if "text" in reads else []
        if "title" in reads and rows.titles is not None:
            self._strings.append(rows.titles)
        self._operations = count_operations(model.name, data.img_size, data.max_len)
        self._guess: tuple[float, float] | None = None
        self._has_said = False

    def announce(self, agenda: "Agenda") -> None:
        """Plan all passes, and say how long everything takes, without a look at towers that must be loaded first."""
        self._plan(agenda, [1.0] * len(self._epochs), [1.0] * len(self._strings))
        self._say(agenda)

    def refine(self, agenda: "Agenda", encoder_of: "Callable[[], Encoder]") -> None:
        """Plan what the cache doesn't have, and time some batches, which are kept, of towers that never ran here.

        Args:
            agenda: of the work.
            encoder_of: makes a quiet encoder of the towers.
        """
        encoder = encoder_of()
        shares = encoder.missing(self._rows, self._epochs, details=self._details) if self._epochs else []
        self._plan(agenda, shares, [encoder.missing_texts(strings) for strings in self._strings])
        size = encoding_batch(self._device)
        missing = sum(shares) * self._pictures
        if missing >= WORTH_TIMING * size and not agenda.knows(self._picture) and not self._config.train.compile:
            drawn = np.random.default_rng(0).permutation(len(self._rows))
            for part in (drawn[:size], drawn[-size:]):  # the first batch loads the towers and is slow
                rows, most = self._rows.take(part), self._config.data.max_len
                time_rows(agenda, encoder_of(), rows, most, details=self._details)
            self._say(agenda, "timed by a batch: ")
        elif not self._has_said:
            self._say(agenda)

    def _plan(self, agenda: "Agenda", of_pictures: list[float], of_texts: list[float]) -> None:
        """Plan the shares of the passes that are missing."""
        agenda.drop((FEATURES,))
        if self._guess is None and not (agenda.knows(self._picture) and agenda.knows(self._text)):
            self._guess = computed_speeds(self._operations, self._config.data.max_len, self._device, self._precision)
        picture, text = self._guess or (None, None)
        amounts = [round(share * self._pictures) for share in of_pictures]
        agenda.plan(self._picture, amounts, guess=picture, group=(FEATURES,))
        like = self._picture, TOKEN_PICTURES
        for strings, share in zip(self._strings, of_texts, strict=True):
            size = sum(text_sizes(list(dict.fromkeys(strings)), self._config.data.max_len))
            agenda.plan(self._text, [share * size], guess=text, like=like, group=(FEATURES,))

    def _say(self, agenda: "Agenda", how: str = "") -> None:
        """Say how long all that is planned takes, and how it could be shorter."""
        if not self._job:
            return
        left = agenda.left
        if left is None and self._has_said:
            return
        self._has_said = True
        passes = "1 pass" if len(self._epochs) == 1 else f"{len(self._epochs)} passes"
        what = f"{passes} over {self._pictures:,} pictures, {len(self._rows):,} texts; {find_machine()}"
        if left is None:
            say(f"{self._job}: {what}: how long it takes is said once a batch is timed")
            return
        say(f"{self._job}: {what}: {how}about {clock(max(left, 1))}")
        shorter = self._shorter(agenda, left)
        if left > LONG and shorter:
            say(f"{self._job}: shorter: {', '.join(f'{key} about {clock(s)}' for key, s in shorter.items())}")

    def _shorter(self, agenda: "Agenda", left: float) -> dict[str, float]:
        """Settings that take less, and seconds with each."""
        per_picture, found = agenda.expects(self._picture), {}
        if per_picture is None:
            return {}
        encoding = len(self._epochs) * self._pictures * per_picture
        if len(self._epochs) > 1:
            found["train.views=0"] = left - encoding * (1 - 1 / len(self._epochs))
        name, pretrained = plan.CPU_BACKBONE
        small = count_operations(name, self._config.data.img_size, self._config.data.max_len)
        if self._operations and small and small.picture < self._operations.picture:
            share = small.picture / self._operations.picture
            found[f"model.name={name} model.pretrained={pretrained}"] = left - encoding * (1 - share)
        return found


def time_rows(agenda: "Agenda", encoder: "Encoder", rows: Rows, max_len: int, *, details: bool) -> None:
    """Encode some rows, and let the agenda learn how long it took.

    Args:
        agenda: of the work.
        encoder: quiet.
        rows: of the table; what is kept of them isn't computed again.
        max_len: tokens of a text.
        details: with those of the pictures.
    """
    encoder.images(rows, details=details)
    ledger = encoder.ledger
    computed, seconds, reused = ledger.computed, ledger.seconds, ledger.reused
    if computed and not reused:
        agenda.learn(encoder.picture_kind(), seconds / computed)
    encoder.texts(rows)
    if ledger.reused == reused and ledger.computed > computed:
        size = sum(text_sizes(list(dict.fromkeys(rows.texts)), max_len))
        agenda.learn(encoder.text_kind, (ledger.seconds - seconds) / size)


def row_size(rows: Rows, data: DataConfig) -> tuple[float, float]:
    """Pictures of a row, and the size of its text, on an average."""
    count = max(len(rows), 1)
    return count_views(rows, data.multi_image_mode) / count, sum(text_sizes(rows.texts, data.max_len)) / count


def computed_speeds(
    operations: Operations | None, max_len: int, device: torch.device, precision: Precision
) -> tuple[float, float] | None:
    """Seconds for a picture, and for a text by its size; None where the operations aren't known.

    A tenth of a second is spent on finding out how fast the machine multiplies.
    """
    if operations is None:
        return None
    speed = multiplications_per_second(device, precision.dtype or torch.float32)
    decoding = DECODE_SECONDS / max(torch.get_num_threads(), 1)
    return operations.picture / speed + decoding, operations.text / speed / (max_len + TEXT_TOKENS)
