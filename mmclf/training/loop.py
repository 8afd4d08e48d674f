"""The training loop: one fold, one epoch at a time. It yields results; someone else records them."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..config import TrainConfig
from ..data.batches import FILLER, Batch, FeatureBatch, Loader
from ..errors import TrainingError
from ..evaluation.metrics import top_k
from ..model.classifier import Classifier, FeatureClassifier
from ..model.encoder import FeatureLoader
from ..runtime.distributed import World
from ..runtime.progress import track
from ..runtime.seeds import seed_everything
from ..runtime.speed import Stopwatch, peak_memory


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


def fit(
    model: Classifier | FeatureClassifier,
    train: Loader | FeatureLoader,
    validation: Loader | FeatureLoader,
    config: TrainConfig,
    *,
    fold: int,
    device: torch.device,
    name: str = "training",
    world: World | None = None,
) -> Iterator[EpochResult]:
    """Train a fold and yield after each epoch, until the epochs or the patience are used up.

    When a result with `is_best` is yielded, the model holds the weights that reached it.

    Args:
        model: on `device`.
        train: shuffled loader of the training rows.
        validation: ordered loader of the held-out rows; with several processes, of this one's share.
        config: epochs, learning rates and so on.
        fold: number of the fold, for the seeds.
        device: where the model is.
        name: for the progress bar.
        world: the processes that train together; every one of them is yielded the same results.

    Raises:
        TrainingError: the loss is no longer a finite number.
    """
    world = world or World()
    if world.size > 1 and isinstance(model, Classifier):
        model.freeze_unused()
    optimizer = torch.optim.AdamW(
        model.parameter_groups(config.lrs), weight_decay=config.weight_decay, fused=device.type in ("cpu", "cuda")
    )
    steps = config.epochs * -(-len(train) // config.grad_accum)
    scheduler = linear_schedule(optimizer, int(config.warmup_ratio * steps), steps)
    scaler = torch.amp.GradScaler(device.type, enabled=model.precision.scale_loss)
    wrapped = world.wrap(model)
    best, since_best = -1.0, 0
    for epoch in range(1, config.epochs + 1):
        train.set_epoch(epoch)
        watch = Stopwatch()
        # epoch by epoch, so that a run resumed at an epoch draws the same dropout masks
        seed_everything(config.seed, "dropout", fold, epoch, *([world.rank] if world.rank else []))
        bar = f"{name} epoch {epoch}/{config.epochs}"
        train_loss, rates = _train_epoch(
            wrapped, train, config, optimizer, scheduler, scaler, device, bar, watch=watch, world=world
        )
        trained, data_wait = watch.seconds, watch.wait_share
        if not np.isfinite(train_loss):
            raise TrainingError(
                f"fold {fold}, epoch {epoch}: the training loss is {train_loss}; lower train.lrs "
                f"(now {config.lrs.model_dump()}) or set train.warmup_ratio=0.1"
            )
        probabilities, targets = predict(model, validation, device, f"{name} validation {epoch}/{config.epochs}", world)
        top1 = top_k(probabilities, targets, 1)
        is_best = top1 > best
        best, since_best = (top1, 0) if is_best else (best, since_best + 1)
        yield EpochResult(
            epoch=epoch,
            train_loss=train_loss,
            val_loss=_cross_entropy(probabilities, targets),
            val_top1=top1,
            val_top3=top_k(probabilities, targets, 3),
            learning_rates=rates,
            seconds=watch.seconds,
            rows_per_second=len(train.rows) / trained,
            data_wait=data_wait,
            peak_memory=peak_memory(device),
            is_best=is_best,
            probabilities=probabilities,
        )
        if since_best >= config.early_stop_patience:
            return


def linear_schedule(optimizer: torch.optim.Optimizer, warmup: int, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Factors that rise linearly over `warmup` steps and then fall linearly to 0 at step `steps`.

    As transformers' get_linear_schedule_with_warmup does, whose import would take longer than a rerun of stage 1.
    """

    def factor(step: int) -> float:
        if step < warmup:
            return step / max(1, warmup)
        return max(0.0, (steps - step) / max(1, steps - warmup))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def predict(
    model: Classifier | FeatureClassifier,
    loader: Loader | FeatureLoader,
    device: torch.device,
    name: str,
    world: World | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities float32 (rows, classes) and targets int64 (rows,) of an ordered loader's rows.

    With several processes, each brings its own loader, and all get the rows of all, in the order of their positions.
    """
    world = world or World()
    model.eval()
    rows, probabilities, targets = [], [], []
    with torch.inference_mode():
        batches: Iterable[Batch | FeatureBatch] = loader
        for batch in track(batches, len(loader), name, quiet=not world.is_main):
            logits = model(batch.to(device))
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
    model: nn.Module,
    loader: Loader | FeatureLoader,
    config: TrainConfig,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LambdaLR,
    scaler: torch.amp.GradScaler,
    device: torch.device,
    name: str,
    *,
    watch: Stopwatch,
    world: World,
) -> tuple[float, dict[str, float]]:
    """One pass; returns the mean loss over the rows and the rates of the last step."""
    model.train()
    nominal = loader.batch_size * config.grad_accum  # rows of a full step
    total = torch.zeros((), dtype=torch.float64, device=device if device.type != "mps" else "cpu")
    rates: dict[str, float] = {}
    pending = 0  # rows since the last step
    source: Iterable[Batch | FeatureBatch] = loader
    batches = track(source, len(loader), name, quiet=not world.is_main)
    for number, batch in enumerate(watch.waiting(batches), start=1):
        is_step = number % config.grad_accum == 0 or number == len(loader)
        moved = batch.to(device)
        with contextlib.nullcontext() if is_step else world.no_sync(model):
            logits = model(moved)
            loss = F.cross_entropy(
                logits, moved.targets, label_smoothing=config.label_smoothing, reduction="sum", ignore_index=FILLER
            )
            # the wrapped model averages over the processes, whose batches are parts of one
            scaler.scale(loss * (world.size / nominal)).backward()  # type: ignore[no-untyped-call]
        total += loss.detach().to(total.device)
        pending += min(loader.batch_size, len(loader.rows) - (number - 1) * loader.batch_size)
        if not is_step:
            continue
        if pending < nominal:  # the last step has fewer rows; its gradient is a mean all the same
            scaler.unscale_(optimizer)
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.grad.mul_(nominal / pending)
        rates = {group["name"]: float(group["lr"]) for group in optimizer.param_groups}
        scale = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        if scaler.get_scale() >= scale:  # a lower scale means that the scaler skipped the step
            scheduler.step()
        pending = 0
    return float(world.sum(total)) / len(loader.rows), rates


def _cross_entropy(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Mean of -log p(true class); probabilities are kept from zero by float32's smallest number."""
    picked = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    return float(-np.log(np.maximum(picked, np.finfo(np.float32).tiny)).mean())
