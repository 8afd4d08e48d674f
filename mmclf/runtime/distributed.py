"""Several processes that train one model: what torchrun and `accelerate launch` start.

Each process takes its share of every batch, so the optimiser sees the batches of a single process. The first process
alone speaks and records.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn

from ..errors import ConfigError
from . import environment


@dataclass(frozen=True)
class World:
    """The processes of a training.

    Attributes:
        rank: number of this one.
        size: how many there are.
        local_rank: number of this one on its machine, which is that of its GPU.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process records."""
        return self.rank == 0

    def share(self, items: Any) -> Any:
        """Every `size`-th item of a sequence or array: what this process does of it."""
        return items[self.rank :: self.size]

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model with gradients averaged over the processes; every parameter that is trained must get one."""
        if self.size == 1:
            return model
        return nn.parallel.DistributedDataParallel(
            model,
            device_ids=[torch.cuda.current_device()] if next(model.parameters()).is_cuda else None,
            broadcast_buffers=False,  # batch norm keeps its pretrained statistics
            gradient_as_bucket_view=True,
        )

    def no_sync(self, model: nn.Module) -> contextlib.AbstractContextManager[object]:
        """While gradients are only accumulated."""
        return model.no_sync() if isinstance(model, nn.parallel.DistributedDataParallel) else contextlib.nullcontext()

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over the processes."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in the order of their ranks, in every process."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    def from_main(self, value: Any) -> Any:
        """The main process's value, in every process."""
        if self.size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box)
        return box[0]


@contextlib.contextmanager
def join_world() -> Iterator[World]:
    """The world that the launcher's environment describes; a world of one process without a launcher.

    Raises:
        ConfigError: the environment names several processes but not how they meet, or is no number where it must be.
    """
    size = environment.WORLD_SIZE.integer()
    if size == 1:
        yield World()
        return
    needed = (environment.RANK, environment.LOCAL_RANK, environment.MASTER_ADDR, environment.MASTER_PORT)
    missing = [variable.name for variable in needed if not variable.get()]
    if missing:
        raise ConfigError(
            f"WORLD_SIZE is {size}, but {', '.join(missing)} is not set; start by torchrun or `accelerate launch`"
        )
    world = World(environment.RANK.integer(), size, environment.LOCAL_RANK.integer())
    if torch.cuda.is_available():
        torch.cuda.set_device(world.local_rank)
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield world
    finally:
        distributed.destroy_process_group()
