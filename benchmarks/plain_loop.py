"""The recipe as a plain PyTorch program: the opponent of the benchmark, and the reference for its results.

    python -m benchmarks.plain_loop stage1 --csv train.csv --images images --model local-dir:PATH --out DIR

A loop as it is usually written: every fold goes over the files in every epoch, texts are padded to the whole context,
inference loads one fold after another. Frozen towers run without gradients, texts are tokenised once, autocast is on
where it is on in mmclf. What decides the mathematics is taken from mmclf, so that results can be compared: the table,
the folds and the seeds. Everything else stands here.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from transformers import get_linear_schedule_with_warmup

from mmclf.config import DataConfig
from mmclf.data.catalog import Catalog, read_catalog
from mmclf.data.folds import assign_folds
from mmclf.runtime.device import pick_precision
from mmclf.runtime.seeds import derive_seed, seed_everything

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Products(Dataset[dict[str, torch.Tensor]]):
    """A row: its first picture, its tokens, its target. `epoch` None is the eval transform."""

    def __init__(
        self, catalog: Catalog, tokens: torch.Tensor, targets: np.ndarray, rows: np.ndarray, clip: Any, args: Any
    ) -> None:
        self.catalog, self.tokens, self.targets, self.rows = catalog, tokens, targets, rows
        self.seed, self.size, self.epoch = args.seed, args.img_size, None
        config = clip.visual.preprocess_cfg
        mode = transforms.InterpolationMode(config.get("interpolation") or "bicubic")
        finish = [transforms.ToTensor(), transforms.Normalize(config["mean"], config["std"])]
        self.train_transform = transforms.Compose(
            [
                transforms.Resize(self.size + 32, interpolation=mode),
                transforms.RandomResizedCrop(self.size, interpolation=mode),
                transforms.RandomHorizontalFlip(),
                *finish,
            ]
        )
        self.eval_transform = transforms.Compose(
            [transforms.Resize(self.size, interpolation=mode), transforms.CenterCrop(self.size), *finish]
        )
        self.placeholder = transforms.Compose(finish)(Image.new("RGB", (self.size, self.size)))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = int(self.rows[index])
        return {
            "image": self.image(row),
            "tokens": self.tokens[row],
            "target": torch.tensor(int(self.targets[row])),
        }

    def image(self, row: int) -> torch.Tensor:
        names = self.catalog.rows.pictures[row]
        if not names:
            return self.placeholder
        try:
            picture = load(self.catalog.image_root / names[0])
        except Exception:  # the recipe: training goes on
            return self.placeholder
        if self.epoch is None:
            return self.eval_transform(picture)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive_seed(self.seed, self.epoch, self.catalog.ids[row], 0))
            return self.train_transform(picture)


def load(path: Path) -> Image.Image:
    """A picture upright, in RGB, transparency on white."""
    with Image.open(path) as opened:
        opened.load()
        picture = ImageOps.exif_transpose(opened)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


class Order(torch.utils.data.Sampler[int]):
    """Positions 0..n-1, shuffled by seed and epoch."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed, self.epoch = count, seed, 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, self.epoch, "order"))
        return iter(torch.randperm(self.count, generator=generator).tolist())


class Model(nn.Module):
    """Towers, concatenated features, head."""

    def __init__(self, clip: nn.Module, classes: int, args: Any, *, frozen: bool) -> None:
        super().__init__()
        self.clip, self.frozen = clip, frozen
        self.dtype = pick_precision(DEVICE, args.amp).dtype
        clip.eval().requires_grad_(not frozen)
        image, text = self.encode(torch.zeros(1, 3, args.img_size, args.img_size), args.tokenize(["a"]))
        self.head = nn.Sequential(
            nn.Dropout(args.dropout),
            nn.Linear(image.shape[1] + text.shape[1], args.hidden_dim),
            nn.GELU(),
            nn.Dropout(args.dropout),
            nn.Linear(args.hidden_dim, classes),
        )

    def train(self, mode: bool = True) -> "Model":
        super().train(mode)
        if self.frozen:
            self.clip.eval()
        for module in self.clip.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()  # the statistics of the pretraining
        return self

    def encode(self, images: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with (
            torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen),
            torch.autocast(DEVICE.type, self.dtype or torch.bfloat16, enabled=self.dtype is not None),
        ):
            return self.clip.encode_image(images).float(), self.clip.encode_text(tokens).float()

    def forward(self, images: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat(self.encode(images, tokens), dim=1))


def make_clip(args: Any) -> nn.Module:
    """The pretrained towers."""
    folder = args.model.startswith("local-dir:")
    return open_clip.create_model(args.model, pretrained=None if folder else args.pretrained)


def loader(dataset: Products, args: Any, sampler: Order | None = None) -> DataLoader[Any]:
    return DataLoader(
        dataset,
        batch_size=args.batch_size,
        sampler=sampler,
        num_workers=args.workers,
        pin_memory=DEVICE.type == "cuda",
        generator=torch.Generator(),  # of the workers' seeds; the model's dropout has the global one
    )


@torch.inference_mode()
def evaluate(model: Model, batches: DataLoader[Any], *, tta: bool = False) -> np.ndarray:
    """Probabilities float32 (rows, classes)."""
    model.eval()
    found = []
    for batch in batches:
        images, tokens = batch["image"].to(DEVICE), batch["tokens"].to(DEVICE)
        probabilities = model(images, tokens).softmax(dim=1)
        if tta:
            probabilities = (probabilities + model(images.flip(-1), tokens).softmax(dim=1)) / 2
        found.append(probabilities.cpu().numpy())
    return np.concatenate(found)


def train(args: Any) -> dict[str, Any]:
    """Stage 1 or 2: all folds, each for all epochs."""
    start = time.perf_counter()
    catalog = read_table(args, training=True)
    folds = assign_folds(catalog, args.folds, args.seed)
    targets, classes = catalog.targets(catalog.classes), len(catalog.classes)
    frozen = args.command == "stage1"
    clip = make_clip(args)
    tokens = args.tokenize(catalog.rows.texts)
    probabilities = np.zeros((len(catalog), classes), dtype=np.float32)
    chosen = sorted({int(f) for f in folds}) if args.fold == "all" else [int(args.fold)]
    results, rows_seen, train_seconds, wait = [], 0, 0.0, 0.0
    args.out.mkdir(parents=True, exist_ok=True)
    for number, fold in enumerate(chosen):
        if not frozen and number:
            clip = make_clip(args)
        seed_everything(args.seed, "head", fold)
        model = Model(clip, classes, args, frozen=frozen).to(DEVICE)
        if not frozen and args.init is not None:
            model.head.load_state_dict(load_file(args.init / f"fold-{fold}.safetensors"))
        rows, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        dataset = Products(catalog, tokens, targets, rows, clip, args)
        order = Order(len(rows), args.seed)
        batches = loader(dataset, args, order)
        validation = loader(Products(catalog, tokens, targets, held_out, clip, args), args)
        groups = [{"params": model.head.parameters(), "lr": args.lr_head}]
        if not frozen:
            text = [p for n, p in clip.named_parameters() if not n.startswith(("visual.", "logit_"))]
            groups = [
                {"params": clip.visual.parameters(), "lr": args.lr_image},
                {"params": text, "lr": args.lr_text},
                *groups,
            ]
        optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
        scheduler = get_linear_schedule_with_warmup(optimizer, 0, args.epochs * len(batches))
        figures: dict[str, Any] = {"fold": fold, "val_top1": [], "val_top3": [], "train_loss": []}
        best, since = -1.0, 0
        for epoch in range(1, args.epochs + 1):
            seed_everything(args.seed, "dropout", fold, epoch)
            dataset.epoch = order.epoch = epoch
            model.train()
            total, seen = 0.0, 0
            epoch_start = mark = time.perf_counter()
            for step, batch in enumerate(batches):
                wait += time.perf_counter() - mark
                images, ids = batch["image"].to(DEVICE), batch["tokens"].to(DEVICE)
                goal = batch["target"].to(DEVICE)
                loss = F.cross_entropy(model(images, ids), goal)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step()
                total += loss.item() * len(goal)
                seen += len(goal)
                mark = time.perf_counter()
                if step + 1 == args.max_steps:
                    break
            train_seconds += time.perf_counter() - epoch_start
            rows_seen += seen
            found = evaluate(model, validation)
            ranked = np.argsort(-found, axis=1, kind="stable")
            top1 = float((ranked[:, 0] == targets[held_out]).mean())
            figures["val_top1"].append(top1)
            figures["val_top3"].append(float((ranked[:, :3] == targets[held_out][:, None]).any(axis=1).mean()))
            figures["train_loss"].append(total / seen)
            print(f"plain {args.command} fold {fold} epoch {epoch}: top-1 {top1:.4f}", file=sys.stderr, flush=True)
            if top1 > best:
                best, since = top1, 0
                probabilities[held_out] = found
                state = model.head.state_dict() if frozen else model.state_dict()
                save_file({k: v.contiguous() for k, v in state.items()}, args.out / f"fold-{fold}.safetensors")
            else:
                since += 1
            if since >= args.patience:
                break
        results.append(figures)
    settings = {"stage": args.command, "classes": catalog.classes, "folds": chosen}
    (args.out / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    np.savez(args.out / "oof.npz", ids=np.array(catalog.ids), probabilities=probabilities, folds=folds)
    return {
        "seconds": time.perf_counter() - start,
        "train_rows_per_second": rows_seen / train_seconds,
        "data_wait": wait / train_seconds,
        "folds": results,
        "cv_top1": float(np.mean([max(f["val_top1"]) for f in results])),
    }


def infer(args: Any) -> dict[str, Any]:
    """Score a table with the folds of a former call, one after another."""
    start = time.perf_counter()
    catalog = read_table(args, training=False)
    settings = json.loads((args.models / "settings.json").read_text(encoding="utf-8"))
    frozen, rows = settings["stage"] == "stage1", np.arange(len(catalog))
    tokens = args.tokenize(catalog.rows.texts)
    total = np.zeros((len(catalog), len(settings["classes"])))
    for fold in settings["folds"]:
        model = Model(make_clip(args), len(settings["classes"]), args, frozen=True).to(DEVICE)
        state = load_file(args.models / f"fold-{fold}.safetensors")
        (model.head if frozen else model).load_state_dict(state)
        dataset = Products(catalog, tokens, np.zeros(len(catalog), dtype=np.int64), rows, model.clip, args)
        total += evaluate(model, loader(dataset, args), tta=args.tta)
    args.out.mkdir(parents=True, exist_ok=True)
    mean = (total / len(settings["folds"])).astype(np.float32)
    np.savez(args.out / "probabilities.npz", ids=np.array(catalog.ids), probabilities=mean)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "rows_per_second": len(catalog) / seconds}


def read_table(args: Any, *, training: bool) -> Catalog:
    """The table as mmclf reads it."""
    columns = args.text_cols.split(",") if args.text_cols else None
    data = DataConfig(text_cols=columns, groups_csv=args.groups_csv or None, max_len=args.max_len)
    return read_catalog(args.csv, args.images, data, training=training)


def make_tokenize(args: Any) -> Any:
    """Texts -> int64 (n, context), padded to what the text tower reads."""
    tokenizer = open_clip.get_tokenizer(args.model)
    return lambda texts: tokenizer(texts, context_length=args.max_len).long()


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The recipe as a plain PyTorch loop.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("stage1", "stage2", "infer"):
        sub = commands.add_parser(name)
        sub.add_argument("--csv", required=True)
        sub.add_argument("--images", required=True)
        sub.add_argument("--model", required=True)
        sub.add_argument("--pretrained")
        sub.add_argument("--out", type=Path, required=True)
        sub.add_argument("--text-cols", default="")
        sub.add_argument("--groups-csv", default="")
        sub.add_argument("--batch-size", type=int, default=32 if name == "stage2" else 64)
        sub.add_argument("--img-size", type=int, default=224)
        sub.add_argument("--max-len", type=int, default=77)
        sub.add_argument("--hidden-dim", type=int, default=512)
        sub.add_argument("--dropout", type=float, default=0.1)
        sub.add_argument("--workers", type=int, default=0)
        sub.add_argument("--seed", type=int, default=42)
        sub.add_argument("--amp", action=argparse.BooleanOptionalAction, default=True)
        if name == "infer":
            sub.add_argument("--models", type=Path, required=True)
            sub.add_argument("--tta", action=argparse.BooleanOptionalAction, default=True)
            continue
        sub.add_argument("--folds", type=int, default=5)
        sub.add_argument("--fold", default="all")
        sub.add_argument("--epochs", type=int, default=20 if name == "stage2" else 5)
        sub.add_argument("--patience", type=int, default=2)
        sub.add_argument("--lr-head", type=float, default=3e-4 if name == "stage2" else 1e-3)
        sub.add_argument("--lr-image", type=float, default=1e-5)
        sub.add_argument("--lr-text", type=float, default=1e-5)
        sub.add_argument("--max-steps", type=int)
        sub.add_argument("--init", type=Path)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """The command line; prints its figures as one line of JSON."""
    args = parse(argv)
    args.tokenize = make_tokenize(args)
    print(json.dumps(infer(args) if args.command == "infer" else train(args)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
