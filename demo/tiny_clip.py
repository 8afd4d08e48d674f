"""Make a tiny CLIP model on the spot, as a folder that open_clip loads with its `local-dir:` prefix.

It has the parts of OpenAI's CLIP (a vision transformer, a causal text transformer over the same byte-pair
vocabulary, QuickGELU) at a size that one processor core can pretrain in seconds. The pretraining pairs are
drawn here with the shapes of the demo catalogue; its rows, its texts and its classes stay unseen.

    python -m demo.tiny_clip OUT
"""

import argparse
import json
import math
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip import CLIP, OPENAI_DATASET_MEAN, OPENAI_DATASET_STD, ClipLoss, SimpleTokenizer
from safetensors.torch import save
from torch.nn import functional as F

from . import whole_folder
from .shapes import COLOURS, GROUNDS, SHAPES, draw_picture

FORMAT = 2  # raise it when the same parameters make another model than before
MARKER = "tiny_clip.json"
CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"

PATCH = 16  # pixels; patches of 8 cost four times as much and learn no more in the same time
STEPS = 800
_ROUNDS = 14  # pictures of each shape in each colour, all of them drawn before the first step
_MIXED_BATCH = 32
_SPREAD_TEXTS = 1024
_NORM = 10.0  # mean length of the text features, the order of CLIP's own; the image tower's come out at 16
_PEAK_RATE = 1e-3
_TEMPLATES = (
    "a {colour} {shape}",
    "{colour} {shape}",
    "a {shape} in {colour}",
    "{shape}",
    "{colour} {shape}, {ground} ground",
)


def _config(image_size: int) -> dict[str, Any]:
    return {
        "model_cfg": {
            "embed_dim": 128,
            "quick_gelu": True,
            "vision_cfg": {
                "image_size": image_size,
                "patch_size": PATCH,
                "width": 128,
                "layers": 2,
                "head_width": 32,
            },
            "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 2},
        },
        "preprocess_cfg": {
            "mean": list(OPENAI_DATASET_MEAN),
            "std": list(OPENAI_DATASET_STD),
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }


@torch.no_grad()
def _spread_texts(model: CLIP) -> None:
    """Centre and whiten what the text tower makes of random words, by its last bias and its projection.

    With fresh weights all texts lie close together, mostly along the one direction of their lengths.
    """
    words = torch.randint(model.vocab_size - 2, (_SPREAD_TEXTS, model.context_length))
    start, end = model.vocab_size - 2, model.vocab_size - 1  # the marks are the last two of the vocabulary
    last = torch.randint(4, model.context_length, (_SPREAD_TEXTS, 1))
    place = torch.arange(model.context_length)
    words = words.masked_fill(place == 0, start).masked_fill(place == last, end).masked_fill(place > last, 0)
    model.text_projection.copy_(torch.eye(len(model.text_projection)))
    states = model.encode_text(words)
    model.ln_final.bias -= states.mean(dim=0)
    strengths, directions = torch.linalg.eigh(torch.cov(states.T))
    strengths = strengths.clamp(min=1e-4 * float(strengths.max()))
    model.text_projection.copy_(directions * (_NORM / (strengths * len(strengths)).sqrt()))


@torch.no_grad()
def _draw_pairs(rng: random.Random, model: CLIP, rounds: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw every shape in every colour, `rounds` times.

    Returns:
        The pictures, (pairs, 3, size, size) float32, normalised, and the features of their captions,
        (pairs, embed_dim) float32 of length 1; ordered by round, then colour, then shape.
    """
    pictures, captions = [], []
    grounds = list(GROUNDS)
    for _ in range(rounds):
        for colour in COLOURS:
            for shape in SHAPES:
                ground = rng.choice(grounds)
                pictures.append(np.asarray(draw_picture(rng, shape, colour, ground=ground, size=size)))
                captions.append(rng.choice(_TEMPLATES).format(shape=shape, colour=colour, ground=ground))
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD))
    number = {caption: i for i, caption in enumerate(dict.fromkeys(captions))}
    tokens = SimpleTokenizer(context_length=model.context_length)(list(number))
    features = torch.cat([model.encode_text(part, normalize=True) for part in tokens.split(256)])
    return (pixels - mean) / std, features[[number[caption] for caption in captions]]


def _choose(rng: random.Random, step: int, pairs: int) -> list[int]:
    """Numbers of the pairs of one batch."""
    shapes, colours = len(SHAPES), len(COLOURS)
    if step % 4 == 3:
        return rng.sample(range(pairs), _MIXED_BATCH)
    # Mostly one picture of each shape, all in one colour: left to itself the loss goes down on the colours,
    # and the shapes, which are harder to see, come too late.
    colour = rng.randrange(colours)
    rounds = pairs // (shapes * colours)
    return [(rng.randrange(rounds) * colours + colour) * shapes + shape for shape in range(shapes)]


def _shift(rng: random.Random, pictures: torch.Tensor) -> torch.Tensor:
    """Move a batch by up to a sixteenth of its size and mirror it half of the time."""
    if rng.random() < 0.5:
        pictures = pictures.flip(-1)
    size = pictures.shape[-1]
    reach = size // 16
    padded = F.pad(pictures, (reach,) * 4, mode="replicate")
    top, left = rng.randint(0, 2 * reach), rng.randint(0, 2 * reach)
    return padded[:, :, top : top + size, left : left + size]


@torch.enable_grad()
def _pretrain(
    model: CLIP,
    rng: random.Random,
    pictures: torch.Tensor,
    texts: torch.Tensor,
    steps: int,
    progress: Callable[[str], None],
) -> None:
    """Train the image tower contrastively towards the features of the captions.

    The text tower stays as it is. Its random weights keep all words apart; trained on the few words of the
    captions it would lose the others, and with them what the catalogue's texts say.
    """
    trained = [*model.visual.parameters(), model.logit_scale]
    optimizer = torch.optim.AdamW(trained, lr=_PEAK_RATE, weight_decay=0.0, fused=True)
    loss_of = ClipLoss()
    warm_up = max(1, min(20, steps // 10))
    model.train()
    for step in range(steps):
        rate = _PEAK_RATE * min((step + 1) / warm_up, 0.5 + 0.5 * math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = _choose(rng, step, len(pictures))
        images = F.normalize(model.encode_image(_shift(rng, pictures[batch])), dim=-1)
        loss = loss_of(images, texts[batch], model.logit_scale.exp())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        if step % 100 == 0 or step == steps - 1:
            progress(f"pretraining step {step + 1} of {steps}, loss {loss.item():.2f}")
    model.eval()


def _is_complete(out: Path, parameters: dict[str, int]) -> bool:
    try:
        note = json.loads((out / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(note == parameters) and (out / CONFIG).is_file() and (out / WEIGHTS).is_file()


def make_tiny_clip(
    out: Path,
    *,
    seed: int = 0,
    image_size: int = 64,
    steps: int = STEPS,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Make a tiny CLIP in the folder `out`, or leave the one that is there already.

    Writes open_clip_config.json, open_clip_model.safetensors (27 MB) and tiny_clip.json with the parameters.
    `out` appears only once everything in it is written. It loads by `open_clip.create_model("local-dir:<out>")`;
    its features are 128 wide, its texts up to 32 tokens long. The same parameters make the same weights, up to
    what another number of threads or another release of torch rounds differently. The caller's random number
    generators stay as they are.

    Args:
        out: the folder to make. A tiny CLIP made with other parameters is replaced.
        seed: of the weights and of the pretraining pictures.
        image_size: width and height of the input in pixels, a multiple of 16.
        steps: pretraining steps, some 20 s on one core at the default; 0 leaves random weights.
        progress: called with a line of text now and then.

    Returns:
        `out` as a path.

    Raises:
        ValueError: `image_size` is no positive multiple of 16, or `steps` is negative.
        FileExistsError: `out` is a file, or holds files but no tiny CLIP.
    """
    if image_size < PATCH or image_size % PATCH:
        raise ValueError(f"image_size must be a positive multiple of {PATCH}, not {image_size}")
    if steps < 0:
        raise ValueError(f"steps must not be negative: {steps}")
    out = Path(out)
    say = progress or (lambda _line: None)
    parameters = {"format": FORMAT, "seed": seed, "image_size": image_size, "steps": steps}
    if _is_complete(out, parameters):
        return out
    with whole_folder(out, MARKER) as part:
        config = _config(image_size)
        # torch.manual_seed would reach the generators of a GPU as well; all of this is made on the CPU
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            model = CLIP(**config["model_cfg"])
            model.eval()
            if steps:
                say("drawing the pretraining pictures")
                rng = random.Random(f"tiny clip {seed}")  # noqa: S311
                _spread_texts(model)
                pictures, texts = _draw_pairs(rng, model, min(_ROUNDS, steps), image_size)
                _pretrain(model, rng, pictures, texts, steps, say)
        weights = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
        # not save_file(), which keeps the file from other users of the machine
        (part / WEIGHTS).write_bytes(save(weights, metadata={"format": "pt"}))
        (part / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (part / MARKER).write_text(json.dumps(parameters, indent=2) + "\n", encoding="utf-8")
    return out


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m demo.tiny_clip", description="Make a tiny CLIP model.")
    parser.add_argument("out", type=Path, help="folder to make")
    options = parser.parse_args(argv)
    out = make_tiny_clip(options.out, progress=lambda line: print(line, flush=True))  # noqa: T201
    sys.stdout.write(f"local-dir:{out}\n")


if __name__ == "__main__":
    main()
