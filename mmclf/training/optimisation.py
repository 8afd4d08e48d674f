"""What changes the weights of a fold: optimiser, schedule, loss scaling, averages; and its state, to go on from."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .averaging import AveragedWeights
from .fold_task import FoldTask

MODEL, OPTIMIZER, AVERAGES = "model.", "optimizer.", "averages."


@dataclass
class Optimisation:
    """What changes the weights.

    Attributes:
        model: that is trained.
        wrapped: the model, with gradients averaged over the processes.
        averages: of the weights; None where they aren't asked for.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LambdaLR
    scaler: torch.amp.GradScaler
    wrapped: nn.Module
    averages: AveragedWeights | None

    @classmethod
    def start(cls, task: FoldTask) -> "Optimisation":
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
        return cls(model, optimizer, scheduler, scaler, wrapped, averages)

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

    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors that the next step depends on; between two steps."""
        found = {MODEL + name: tensor for name, tensor in self.model.state_dict().items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            found |= {f"{OPTIMIZER}{number}.{name}": torch.as_tensor(value) for name, value in state.items()}
        if self.averages is not None:
            found |= {f"{AVERAGES}{number}": each for number, each in enumerate(self.averages.other)}
        return found

    def numbers(self) -> dict[str, Any]:
        """All numbers that it depends on."""
        found: dict[str, Any] = {
            "rates": [group["lr"] for group in self.optimizer.param_groups],
            "steps": self.scheduler.last_epoch,
            "scaler": self.scaler.state_dict(),
        }
        if self.averages is not None:
            found["averages"] = {"steps": self.averages.steps, "shown": self.averages.shown}
        return found

    def restore(self, tensors: dict[str, torch.Tensor], numbers: dict[str, Any]) -> None:
        """Go on from what `tensors` and `numbers` gave."""
        model = {name.removeprefix(MODEL): each for name, each in tensors.items() if name.startswith(MODEL)}
        self.model.load_state_dict(model)
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith(OPTIMIZER):
                number, _, key = name.removeprefix(OPTIMIZER).partition(".")
                state.setdefault(int(number), {})[key] = tensor
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
        for group, rate in zip(self.optimizer.param_groups, numbers["rates"], strict=True):
            group["lr"] = rate
        self.scheduler.last_epoch = numbers["steps"]
        self.scaler.load_state_dict(numbers["scaler"])
        if self.averages is not None:
            others = [tensors[f"{AVERAGES}{number}"] for number in range(len(self.averages.other))]
            self.averages.restore(others, **numbers["averages"])


def linear_schedule(optimizer: torch.optim.Optimizer, warmup: int, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Factors that rise linearly over `warmup` steps and then fall linearly to 0 at step `steps`.

    As transformers' get_linear_schedule_with_warmup does, whose import would take longer than a rerun of stage 1.
    """

    def factor(step: int) -> float:
        if step < warmup:
            return step / max(1, warmup)
        return max(0.0, (steps - step) / max(1, steps - warmup))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
