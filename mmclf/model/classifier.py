"""The models that are trained: towers with a head, and a head alone on features that are computed already."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..config import LearningRates
from ..data.row_batches import Batch
from ..runtime.device import Precision, encoding_batch
from .head_inputs import HeadInputs
from .lora import add_adapters, merged_state
from .pooling import mean_by_row

if TYPE_CHECKING:  # importing open_clip takes seconds, which a head on stored features doesn't need
    from .backbone import Backbone


class Head(nn.Sequential):
    """Dropout, Linear(hidden_dim), GELU, Dropout, Linear(classes): features float32 (n, d) -> logits (n, classes)."""

    def __init__(self, features: int, hidden_dim: int, classes: int, dropout: float) -> None:
        super().__init__(
            nn.Dropout(dropout),
            nn.Linear(features, hidden_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, classes),
        )

    @staticmethod
    def count(features: int, hidden_dim: int, classes: int) -> int:
        """How many numbers a head of this size is."""
        return (features + 1) * hidden_dim + (hidden_dim + 1) * classes

    @property
    def reads(self) -> Sequence[str]:
        """Both features."""
        return ("image", "text")

    def probabilities(self, rows: HeadInputs) -> torch.Tensor:
        """float32 (n, classes), on the device of the head."""
        device = next(self.parameters()).device
        logits: torch.Tensor = self(torch.from_numpy(rows.features).to(device))
        return logits.softmax(dim=1)


@dataclass(frozen=True)
class FeatureBatch:
    """B rows as features.

    Attributes:
        rows: int64 (B,), positions in the catalogue.
        features: float32 (B, image_dim + text_dim).
        targets: int64 (B,).
    """

    rows: torch.Tensor
    features: torch.Tensor
    targets: torch.Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device) -> "FeatureBatch":
        """The batch with its tensors on `device`."""
        return replace(self, features=self.features.to(device), targets=self.targets.to(device))


class HeadModel(nn.Module):
    """A head on features of frozen towers that are computed already."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head
        self.precision = Precision(None, False, "a head is float32")

    def forward(self, batch: FeatureBatch) -> torch.Tensor:
        """Logits, float32 (B, classes)."""
        logits: torch.Tensor = self.head(batch.features)
        return logits

    def served_state(self) -> dict[str, torch.Tensor]:
        """Its `state_dict`."""
        return self.state_dict()

    def freeze_unused(self) -> None:
        """Nothing: every parameter of a head is used."""

    def parameter_groups(self, rates: LearningRates) -> list[dict[str, object]]:
        """The optimiser group `head`."""
        return [{"name": "head", "params": list(self.head.parameters()), "lr": rates.head}]


class Classifier(nn.Module):
    """Backbone and head. Features and head are float32; only the towers run under autocast."""

    def __init__(
        self,
        backbone: "Backbone",
        head: Head,
        precision: Precision,
        *,
        clip_trainable: bool,
        lora_rank: int | None = None,
    ) -> None:
        """
        Args:
            backbone: the towers.
            head: on their features.
            precision: of the towers.
            clip_trainable: whether the towers are trained.
            lora_rank: of adapters that are trained in their place; None trains all of their parameters.
        """
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.precision = precision
        self.clip_trainable = clip_trainable
        for parameter in backbone.image_parameters() + backbone.text_parameters():
            parameter.requires_grad_(clip_trainable)
        if clip_trainable and lora_rank is not None:
            add_adapters(backbone.clip, lora_rank)

    def train(self, mode: bool = True) -> "Classifier":
        """Training mode; frozen towers stay in eval mode (batch norm, dropout, patch dropout).

        Towers that are trained keep the batch-norm statistics of their pretraining: those of a small batch of random
        crops are noise, and validation sees other pictures. CLIP's own transformers have no such layer.
        """
        super().train(mode)
        if not self.clip_trainable:
            self.backbone.eval()
        for module in self.backbone.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def image_features(self, batch: Batch) -> torch.Tensor:
        """float32 (B, image_dim): the mean over each row's pictures."""
        images = batch.images
        device = images.device
        training = self.training and self.clip_trainable
        precision = self.precision
        if training and device.type == "cpu" and self.backbone.has_grouped_convolutions:
            # oneDNN has no fast bfloat16 gradient for most of them: float32 trains EfficientNet-lite0 1.5 times as fast
            precision = Precision(None, False, "grouped convolutions on a CPU")
        # a vision transformer is trained on the whole batch; else as many at a time as the device is fastest with
        sliced = self.backbone.is_convolutional or not training
        size = encoding_batch(device) if sliced and not (training and device.type == "cuda") else len(images)
        with self._towers(device, precision):
            encoded = torch.cat([self.backbone.encode_image(part) for part in slices(images, size, training=training)])
        features = encoded[: len(images)]
        return mean_by_row(features.float(), batch.picture_row, len(batch))

    def text_features(self, batch: Batch) -> torch.Tensor:
        """float32 (B, text_dim)."""
        training = self.training and self.clip_trainable
        (input_ids,) = slices(batch.input_ids, max(2, len(batch)), training=training)
        with self._towers(batch.input_ids.device, self.precision):
            return self.backbone.encode_text(input_ids).float()[: len(batch)]

    def features(self, batch: Batch) -> torch.Tensor:
        """float32 (B, image_dim + text_dim)."""
        return torch.cat([self.image_features(batch), self.text_features(batch)], dim=1)

    @contextlib.contextmanager
    def _towers(self, device: torch.device, precision: Precision) -> Iterator[None]:
        """Autocast, and gradients only where the towers are trained."""
        with torch.set_grad_enabled(self.clip_trainable and torch.is_grad_enabled()), precision.autocast(device):
            yield

    def forward(self, batch: Batch) -> torch.Tensor:
        """Logits, float32 (B, classes)."""
        logits: torch.Tensor = self.head(self.features(batch))
        return logits

    def served_state(self) -> dict[str, torch.Tensor]:
        """The `state_dict` of a model without adapters that gives the same features."""
        return merged_state(self)

    def freeze_unused(self) -> None:
        """Freeze the parameters that no feature depends on, such as the pooler of a text tower that isn't asked.

        Processes that train together wait for the gradient of every parameter that isn't frozen.
        """
        device = next(self.head.parameters()).device
        images = self.backbone.transform.placeholder()[None].to(device)
        tokens = self.backbone.tokenize(["a"], 3).input_ids.long().to(device)
        with torch.enable_grad():
            features = [self.backbone.encode_image(images), self.backbone.encode_text(tokens)]
            torch.cat(features, dim=1).sum().backward()  # type: ignore[no-untyped-call]
        for parameter in self.backbone.parameters():
            if parameter.grad is None:
                parameter.requires_grad_(False)
            parameter.grad = None

    def parameter_groups(self, rates: LearningRates) -> list[dict[str, object]]:
        """Optimiser groups `image_encoder`, `text_encoder` and `head`, or `head` alone when frozen."""
        groups: list[dict[str, object]] = []
        if self.clip_trainable:
            towers = {
                "image_encoder": (self.backbone.image_parameters(), rates.image_encoder),
                "text_encoder": (self.backbone.text_parameters(), rates.text_encoder),
            }
            groups += [
                {"name": name, "params": [each for each in parameters if each.requires_grad], "lr": rate}
                for name, (parameters, rate) in towers.items()
            ]
        return [*groups, {"name": "head", "params": list(self.head.parameters()), "lr": rates.head}]


def slices(inputs: torch.Tensor, size: int, *, training: bool = False) -> list[torch.Tensor]:
    """The inputs in parts of about `size`, at least two in each; one alone is doubled.

    On a CPU in bfloat16 a row's features are the same to the bit in whatever company of one or more others, but not
    alone: there another kernel rounds in another order. So a held-out row is judged the same in any batch.

    Args:
        inputs: (n, ...).
        size: at most one more than this in a part.
        training: leave one alone as it is, for the result doesn't matter to the bit.
    """
    if len(inputs) == 1 and not training:
        return [inputs.expand(2, *inputs.shape[1:])]
    parts = list(torch.split(inputs, size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts
