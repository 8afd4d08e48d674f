"""The training loop: one fold, one epoch at a time. It yields results; someone else records them."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ..errors import TrainingError
from ..evaluation.metrics import log_loss, top_k
from ..runtime.progress import track
from ..runtime.seeds import seed_everything
from ..runtime.speed import Stopwatch, peak_memory
from .averaging import AveragedWeights
from .fold_task import FoldTask
from .loss import training_loss


@dataclass(frozen=True)
class EpochResult:
    """What one epoch reached.

    Attributes:
        epoch: 1 for the first.
        train_loss: mean cross-entropy over the training rows, with label smoothing.
        val_loss: mean cross-entropy over the validation rows, without.
        val_top1, val_top3: shares in [0, 1].
        learning_rates: of the epoch's last optimiser step, by module.
        seconds: wall time of training and validation.
        rows_per_second: training rows by training time.
        data_wait: share of the training time that was spent waiting for data, in [0, 1].
        peak_memory: MiB at most so far; see `peak_memory`.
        is_best: val_top1 is better than in every epoch before.
        probabilities: float32 (validation rows, classes), in the order of the validation loader's rows.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val_top1: float
    val_top3: float
    learning_rates: dict[str, float]
    seconds: float
    rows_per_second: float
    data_wait: float
    peak_memory: float
    is_best: bool
    probabilities: np.ndarray


def fit(task: FoldTask) -> Iterator[EpochResult]:
    """Train a fold and yield after each epoch, until the epochs or the patience are used up.

    When a result with `is_best` is yielded, the model holds the weights that reached it.

    Raises:
        TrainingError: the loss is no longer a finite number.
    """
    config, world = task.config.train, task.world
    if world.size > 1:
        task.model.freeze_unused()
    optimisation = _Optimisation.start(task)
    best, since_best = -1.0, 0
    for epoch in range(1, config.epochs + 1):
        task.train.set_epoch(epoch)
        optimisation.show_averages(False)
        watch = Stopwatch()
        # epoch by epoch, so that a run resumed at an epoch draws the same dropout masks
        seed_everything(config.seed, "dropout", task.fold, epoch, *([world.rank] if world.rank else []))
        train_loss, rates = _train_epoch(task, optimisation, epoch, watch)
        trained, data_wait = watch.seconds, watch.wait_share
        if not np.isfinite(train_loss):
            raise TrainingError(
                f"fold {task.fold}, epoch {epoch}: the training loss is {train_loss}; lower train.lrs "
                f"(now {config.lrs.model_dump()}) or set train.warmup_ratio=0.1"
            )
        optimisation.show_averages(True)
        probabilities, targets = predict(task, f"{task.name} validation {epoch}/{config.epochs}")
        top1 = top_k(probabilities, targets, 1)
        is_best = top1 > best
        best, since_best = (top1, 0) if is_best else (best, since_best + 1)
        yield EpochResult(
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
            is_best=is_best,
            probabilities=probabilities,
        )
        if config.early_stop_patience is not None and since_best >= config.early_stop_patience:
            return


@dataclass
class _Optimisation:
    """What changes the weights.

    Attributes:
        wrapped: the model, with gradients averaged over the processes.
        averages: of the weights; None where they aren't asked for.
    """

    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LambdaLR
    scaler: torch.amp.GradScaler
    wrapped: nn.Module
    averages: AveragedWeights | None

    @classmethod
    def start(cls, task: FoldTask) -> "_Optimisation":
        """AdamW with the linear schedule of the whole training."""
        config, model = task.config.train, task.model
        optimizer = torch.optim.AdamW(
            model.parameter_groups(config.lrs),
            weight_decay=config.weight_decay,
            fused=task.device.type in ("cpu", "cuda"),
        )
        steps = config.epochs * -(-len(task.train) // config.grad_accum)
        scheduler = linear_schedule(optimizer, int(config.warmup_ratio * steps), steps)
        scaler = torch.amp.GradScaler(task.device.type, enabled=model.precision.scale_loss)
        assert isinstance(model, nn.Module)  # noqa: S101 - a protocol can't say so
        wrapped = task.world.wrap(model)
        averages = None if config.ema is None else AveragedWeights(model.parameters(), config.ema)
        return cls(optimizer, scheduler, scaler, wrapped, averages)

    def step(self, gradient_scale: float) -> dict[str, float]:
        """Take a step with the gradients times `gradient_scale`; returns the rates by module that it took."""
        if gradient_scale != 1:
            self.scaler.unscale_(self.optimizer)
            for group in self.optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.grad.mul_(gradient_scale)
        rates = {group["name"]: float(group["lr"]) for group in self.optimizer.param_groups}
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.scaler.get_scale() >= scale:  # a lower scale means that the scaler skipped the step
            self.scheduler.step()
            if self.averages is not None:
                self.averages.update()
        return rates

    def show_averages(self, shown: bool) -> None:
        """Let the model hold the averaged weights, where there are any, or the optimiser's again."""
        if self.averages is not None:
            self.averages.show(shown)


def linear_schedule(optimizer: torch.optim.Optimizer, warmup: int, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Factors that rise linearly over `warmup` steps and then fall linearly to 0 at step `steps`.

    As transformers' get_linear_schedule_with_warmup does, whose import would take longer than a rerun of stage 1.
    """

    def factor(step: int) -> float:
        if step < warmup:
            return step / max(1, warmup)
        return max(0.0, (steps - step) / max(1, steps - warmup))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def predict(task: FoldTask, label: str) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities float32 (rows, classes) and targets int64 (rows,) of the validation rows.

    With several processes, each brings its own loader, and all get the rows of all, in the order of their positions.
    """
    world, loader = task.world, task.validation
    task.model.eval()
    rows, probabilities, targets = [], [], []
    with torch.inference_mode():
        for batch in track(loader, len(loader), label, quiet=not world.is_main):
            logits = task.model(batch.to(task.device))
            rows.append(batch.rows.numpy())
            probabilities.append(logits.softmax(dim=1).cpu().numpy())
            targets.append(batch.targets.numpy())
    shares = world.gather((rows, probabilities, targets))
    if world.size == 1:
        return np.concatenate(probabilities), np.concatenate(targets)
    order = np.argsort(np.concatenate([part for share in shares for part in share[0]]))
    return (
        np.concatenate([part for share in shares for part in share[1]])[order],
        np.concatenate([part for share in shares for part in share[2]])[order],
    )


def _train_epoch(
    task: FoldTask, optimisation: _Optimisation, epoch: int, watch: Stopwatch
) -> tuple[float, dict[str, float]]:
    """One pass; returns the mean loss over the rows and the rates of the last step."""
    config, loader, world, device = task.config.train, task.train, task.world, task.device
    wrapped = optimisation.wrapped
    wrapped.train()
    nominal = loader.batch_size * config.grad_accum  # rows of a full step
    total = torch.zeros((), dtype=torch.float64, device=device if device.type != "mps" else "cpu")
    rates: dict[str, float] = {}
    pending = 0  # rows since the last step
    batches = track(loader, len(loader), f"{task.name} epoch {epoch}/{config.epochs}", quiet=not world.is_main)
    for number, batch in enumerate(watch.waiting(batches), start=1):
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
    return float(world.sum(total)) / len(loader.rows), rates
