"""The training loop: one fold, one epoch at a time. It yields results; someone else records them."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from ..errors import TrainingError
from ..evaluation.metrics import log_loss, top_k
from ..runtime import stopping
from ..runtime.progress import track
from ..runtime.seeds import seed_everything
from ..runtime.speed import Stopwatch, peak_memory
from .epoch import EpochResult
from .fold_state import BEST_ROWS, FoldStates, Position, Within
from .fold_task import FoldTask
from .loss import training_loss
from .optimisation import Optimisation

# several processes agree on keeping their state, and on ending, every so many batches
TOGETHER = 16
# of the random states among the tensors of a position
RNG = "rng."


def fit(task: FoldTask, states: FoldStates | None = None, position: Position | None = None) -> Iterator[EpochResult]:
    """Train a fold and yield after each epoch, until the epochs or the patience are used up.

    When a result with `is_best` is yielded, the model holds the weights that reached it.

    Args:
        task: the fold.
        states: where the state of the training is kept; None for nowhere. A process that is asked to end does so at
            its next step, once the state is kept.
        position: that the training goes on from, as `states` gave it; the same in every process.

    Raises:
        TrainingError: the loss is no longer a finite number, or the GPU has no room for a step.
        SystemExit, KeyboardInterrupt: the process was asked to end.
    """
    config, world = task.config.train, task.world
    if world.size > 1:
        task.model.freeze_unused()
    keeper = _Keeper(task, Optimisation.start(task), states or FoldStates(None, Path(), 0))
    if position is not None:
        keeper.restore(position)
    optimisation, results = keeper.optimisation, keeper.results
    with stopping.listening():
        for epoch in range(len(results) + 1, config.epochs + 1):
            best = max((result.val_top1 for result in results), default=-1.0)
            since_best = epoch - 1 - max((result.epoch for result in results if result.is_best), default=0)
            if config.early_stop_patience is not None and since_best >= config.early_stop_patience:
                return
            began = keeper.begin(epoch)
            watch = Stopwatch()
            try:
                train_loss, rates = _train_epoch(task, keeper, epoch, began, watch)
            except torch.OutOfMemoryError:
                raise TrainingError(_too_large(task)) from None
            trained, data_wait = watch.seconds, watch.wait_share
            if not np.isfinite(train_loss):
                raise TrainingError(
                    f"fold {task.fold}, epoch {epoch}: the training loss is {train_loss}; lower train.lrs "
                    f"(now {config.lrs.model_dump()}) or set train.warmup_ratio=0.1"
                )
            optimisation.show_averages(True)
            probabilities, targets = predict(task, f"validation {epoch} of {config.epochs}", keeper.look_aside)
            top1 = top_k(probabilities, targets, 1)
            result = EpochResult(
                epoch=epoch,
                train_loss=train_loss,
                val_loss=log_loss(probabilities, targets),
                val_top1=top1,
                val_top3=top_k(probabilities, targets, 3),
                learning_rates=rates,
                seconds=watch.seconds,
                rows_per_second=len(task.train.rows) / trained,
                data_wait=data_wait,
                peak_memory=peak_memory(task.device),
                is_best=top1 > best,
                probabilities=probabilities,
            )
            yield result
            results.append(result)
            keeper.look()


def _too_large(task: FoldTask) -> str:
    train = task.config.train
    halved = f"train.batch_size={train.batch_size // 2} train.grad_accum={2 * train.grad_accum}"
    ways = [halved] if train.batch_size > 1 else []
    if task.stage == "stage2":
        ways += ["train.grad_checkpointing=true"] * (not train.grad_checkpointing)
        ways += ["train.lora_rank=8 with ten times train.lrs of the encoders"] * (train.lora_rank is None)
    return (
        f"{task.name}: the GPU has no memory left for a step of {train.batch_size} rows; set "
        f"{', or '.join(ways) or 'a smaller model.name or data.img_size'}"
    )


class _Keeper:
    """Keeps the state of a training when it is due, or when the process is asked to end."""

    def __init__(self, task: FoldTask, optimisation: Optimisation, states: FoldStates) -> None:
        self.optimisation = optimisation
        self.results: list[EpochResult] = []
        self._task, self._states = task, states
        self._position: Position | None = None
        self._progress = (0, torch.zeros(()), {})  # type: tuple[int, torch.Tensor, dict[str, float]]

    def restore(self, position: Position) -> None:
        """Go on from a position."""
        self.optimisation.restore(position.tensors, position.numbers)
        self.results = list(position.results)
        self._task.train.unreadable.update(position.unreadable)
        self._position = position

    def begin(self, epoch: int) -> Within:
        """Make the next epoch ready; returns what was done of it before."""
        task, position = self._task, self._position
        self._position = None
        began = position.within if position else Within()
        task.train.set_epoch(epoch, began.batches)
        self.optimisation.show_averages(False)
        rank = task.world.rank
        if position is None or not began.batches:
            # epoch by epoch, so that one that goes on from a kept epoch draws the same dropout masks
            seed_everything(task.config.train.seed, "dropout", task.fold, epoch, *([rank] if rank else []))
            return began
        torch.set_rng_state(position.tensors[f"{RNG}cpu.{rank}"])
        if task.device.type == "cuda":
            torch.cuda.set_rng_state(position.tensors[f"{RNG}cuda.{rank}"], task.device)
        return began

    def look(self, batches: int = 0, loss: torch.Tensor | None = None, rates: dict[str, float] | None = None) -> None:
        """Keep the state where it is due, and end where that is asked for; in all processes alike.

        Args:
            batches: done of the epoch that isn't over; 0 between two epochs.
            loss: float64, their sum over this process's rows.
            rates: of the last step.
        """
        task, world = self._task, self._task.world
        self._progress = batches, torch.zeros(()) if loss is None else loss, rates or {}
        if batches % TOGETHER and batches < len(task.train) and world.size > 1:
            return
        due = world.is_main and self._states.is_due(within_epoch=batches > 0)
        shares = world.gather((due, stopping.is_asked()))
        asked = any(share[1] for share in shares)
        if asked or any(share[0] for share in shares):
            self._keep()
        if asked:
            stopping.end()

    def look_aside(self) -> None:
        """End where that is asked for while the epoch is validated, whose steps are kept then."""
        if self._task.world.size == 1 and stopping.is_asked():
            self._keep()
            stopping.end()

    def _keep(self) -> None:
        task, world = self._task, self._task.world
        batches, loss, rates = self._progress
        tensors, numbers = self.optimisation.tensors(), self.optimisation.numbers()
        best = next((result for result in reversed(self.results) if result.is_best), None)
        if best is not None:
            tensors[BEST_ROWS] = torch.from_numpy(best.probabilities)
        own = {"cpu": torch.get_rng_state()}
        if task.device.type == "cuda":
            own["cuda"] = torch.cuda.get_rng_state(task.device)
        shares = world.gather((own, float(loss), task.train.unreadable))
        for rank, (states, _, _) in enumerate(shares):
            tensors |= {f"{RNG}{name}.{rank}": state for name, state in states.items()}
        within = Within(batches, tuple(share[1] for share in shares), rates)
        unreadable = sorted({sentence for share in shares for sentence in share[2]})
        if world.is_main:
            self._states.write(Position(self.results, within, tensors, numbers, unreadable))


def predict(task: FoldTask, label: str, each: Callable[[], None] = lambda: None) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities float32 (rows, classes) and targets int64 (rows,) of the validation rows.

    With several processes, each brings its own loader, and all get the rows of all, in the order of their positions.

    Args:
        task: whose model predicts.
        label: for people.
        each: called after each batch.
    """
    world, loader = task.world, task.validation
    task.model.eval()
    rows, probabilities, targets = [], [], []
    with torch.inference_mode():
        for batch in track(loader, len(loader), label, kind=task.kinds[1], quiet=not world.is_main):
            logits = task.model(batch.to(task.device))
            rows.append(batch.rows.numpy())
            probabilities.append(logits.softmax(dim=1).cpu().numpy())
            targets.append(batch.targets.numpy())
            each()
    shares = world.gather((rows, probabilities, targets))
    if world.size == 1:
        return np.concatenate(probabilities), np.concatenate(targets)
    order = np.argsort(np.concatenate([part for share in shares for part in share[0]]))
    return (
        np.concatenate([part for share in shares for part in share[1]])[order],
        np.concatenate([part for share in shares for part in share[2]])[order],
    )


def _train_epoch(
    task: FoldTask, keeper: _Keeper, epoch: int, began: Within, watch: Stopwatch
) -> tuple[float, dict[str, float]]:
    """One pass, or what is left of it; returns the mean loss over the rows and the rates of the last step."""
    config, loader, world, device = task.config.train, task.train, task.world, task.device
    optimisation = keeper.optimisation
    wrapped = optimisation.wrapped
    wrapped.train()
    nominal = loader.batch_size * config.grad_accum  # rows of a full step
    before = began.loss[world.rank] if began.loss else 0.0
    total = torch.tensor(before, dtype=torch.float64, device=device if device.type != "mps" else "cpu")
    rates = began.rates
    pending = 0  # rows since the last step
    batches = track(
        loader,
        len(loader) - began.batches,
        f"epoch {epoch} of {config.epochs}",
        kind=task.kinds[0],
        quiet=not world.is_main,
    )
    for number, batch in enumerate(watch.waiting(batches), start=began.batches + 1):
        is_step = number % config.grad_accum == 0 or number == len(loader)
        moved = batch.to(device)
        with contextlib.nullcontext() if is_step else world.no_sync(wrapped):
            logits = wrapped(moved)
            loss = training_loss(logits, moved.targets, config.label_smoothing)
            # the wrapped model averages over the processes, whose batches are parts of one
            optimisation.scaler.scale(loss * (world.size / nominal)).backward()  # type: ignore[no-untyped-call]
        total += loss.detach().to(total.device)
        pending += min(loader.batch_size, len(loader.rows) - (number - 1) * loader.batch_size)
        if is_step:
            # the last step may have fewer rows; its gradient is a mean all the same
            rates = optimisation.step(nominal / pending if pending < nominal else 1)
            pending = 0
            keeper.look(number, total, rates)
    return float(world.sum(total)) / len(loader.rows), rates
