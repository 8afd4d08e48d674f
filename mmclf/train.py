"""The training loop: one fold, one epoch at a time. It yields results; someone else records them."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F
from transformers import get_linear_schedule_with_warmup

from .batches import Loader
from .config import TrainConfig
from .errors import TrainingError
from .metrics import top_k
from .model import Classifier
from .progress import track
from .seeds import seed_everything


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
    is_best: bool
    probabilities: np.ndarray


def fit(
    model: Classifier,
    train: Loader,
    validation: Loader,
    config: TrainConfig,
    *,
    fold: int,
    device: torch.device,
    name: str = "training",
) -> Iterator[EpochResult]:
    """Train a fold and yield after each epoch, until the epochs or the patience are used up.

    When a result with `is_best` is yielded, the model holds the weights that reached it.

    Args:
        model: on `device`.
        train: shuffled loader of the training rows.
        validation: ordered loader of the held-out rows.
        config: epochs, learning rates and so on.
        fold: number of the fold, for the seeds.
        device: where the model is.
        name: for the progress bar.

    Raises:
        TrainingError: the loss is no longer a finite number.
    """
    optimizer = torch.optim.AdamW(model.parameter_groups(config.lrs), weight_decay=config.weight_decay)
    steps = config.epochs * -(-len(train) // config.grad_accum)
    warmup = int(config.warmup_ratio * steps)
    scheduler = get_linear_schedule_with_warmup(optimizer, warmup, steps)  # type: ignore[no-untyped-call]
    scaler = torch.amp.GradScaler(device.type, enabled=model.precision.scale_loss)
    best, since_best = -1.0, 0
    for epoch in range(1, config.epochs + 1):
        start = time.perf_counter()
        # epoch by epoch, so that a run resumed at an epoch draws the same dropout masks
        seed_everything(config.seed, "dropout", fold, epoch)
        train.set_epoch(epoch)
        bar = f"{name} epoch {epoch}/{config.epochs}"
        train_loss, rates = _train_epoch(model, train, config, optimizer, scheduler, scaler, device, bar)
        trained = time.perf_counter()
        if not np.isfinite(train_loss):
            raise TrainingError(
                f"fold {fold}, epoch {epoch}: the training loss is {train_loss}; lower train.lrs "
                f"(now {config.lrs.model_dump()}) or set train.warmup_ratio=0.1"
            )
        probabilities, targets = predict(model, validation, device, f"{name} validation {epoch}/{config.epochs}")
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
            seconds=time.perf_counter() - start,
            rows_per_second=len(train.rows) / (trained - start),
            is_best=is_best,
            probabilities=probabilities,
        )
        if since_best >= config.early_stop_patience:
            return


def predict(model: Classifier, loader: Loader, device: torch.device, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities float32 (rows, classes) and targets int64 (rows,) of an ordered loader's rows."""
    model.eval()
    probabilities, targets = [], []
    with torch.inference_mode():
        for batch in track(loader, len(loader), name):
            logits = model(batch.to(device))
            probabilities.append(logits.softmax(dim=1).cpu().numpy())
            targets.append(batch.targets.numpy())
    return np.concatenate(probabilities), np.concatenate(targets)


def _train_epoch(
    model: Classifier,
    loader: Loader,
    config: TrainConfig,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LambdaLR,
    scaler: torch.amp.GradScaler,
    device: torch.device,
    name: str,
) -> tuple[float, dict[str, float]]:
    """One pass; returns the mean loss over the rows and the rates of the last step."""
    model.train()
    nominal = loader.batch_size * config.grad_accum  # rows of a full step
    total = torch.zeros((), dtype=torch.float64, device=device if device.type != "mps" else "cpu")
    rates: dict[str, float] = {}
    pending = 0  # rows since the last step
    for number, batch in enumerate(track(loader, len(loader), name), start=1):
        moved = batch.to(device)
        logits = model(moved)
        loss = F.cross_entropy(logits, moved.targets, label_smoothing=config.label_smoothing, reduction="sum")
        scaler.scale(loss / nominal).backward()  # type: ignore[no-untyped-call]
        total += loss.detach().to(total.device)
        pending += len(batch)
        if number % config.grad_accum and number < len(loader):
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
    return float(total) / len(loader.rows), rates


def _cross_entropy(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Mean of -log p(true class); probabilities are kept from zero by float32's smallest number."""
    picked = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    return float(-np.log(np.maximum(picked, np.finfo(np.float32).tiny)).mean())
