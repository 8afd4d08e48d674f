"""The pretrained image and text towers: open_clip behind one small interface. How they are made: loading.py."""

from typing import Any

import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.model import resize_pos_embed
from open_clip.transformer import TextTransformer, text_global_pool
from torch import nn

from ..data.images import Transform
from ..data.text import Tokens
from ..errors import BackboneError, CheckpointError
from .identity import BackboneIdentity, BackboneSpec, tokenizer_digest
from .letters import Letters
from .outline import outlines

# learnt for contrast between the towers; a classifier doesn't use them
UNUSED = ("logit_scale", "logit_bias")


class Backbone(nn.Module):
    """Image and text towers with their transform and tokenizer."""

    def __init__(self, clip: nn.Module, identity: BackboneIdentity, transform: Transform, tokenizer: Any) -> None:
        super().__init__()
        self.clip = clip
        self.identity = identity
        self.transform = transform
        self.tokenizer = tokenizer
        self._letters = Letters.of(tokenizer)
        self._is_compiled = False
        # convolutions are faster on channels-last memory (1.5 to 3 times on a CPU in bfloat16); a vision transformer
        # has only one, which cuts the patches
        visual: Any = clip.visual
        convolutions = [module for module in visual.modules() if isinstance(module, nn.Conv2d)]
        self.is_convolutional = len(convolutions) > 1
        self.has_grouped_convolutions = any(module.groups > 1 for module in convolutions)
        if self.is_convolutional:
            visual.to(memory_format=torch.channels_last)

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 (n, 3, img_size, img_size) -> (n, image_dim), not of unit length."""
        features: torch.Tensor = self.clip.encode_image(self._normalised(images))  # type: ignore[operator]
        return features

    def encode_image_in_detail(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 (n, 3, img_size, img_size) -> (n, image_dim + layers_dim + OUTLINE_DIM).

        First what `encode_image` gives, then the last layers, each of unit length, then the outlines.
        """
        features, layers = last_layers(self.clip.visual, self._normalised(images))
        layers = [nn.functional.normalize(each, dim=1) for each in layers]
        return torch.cat([features.float(), *layers, outlines(images)], dim=1)

    def _normalised(self, images: torch.Tensor) -> torch.Tensor:
        images = self.transform.normalise(images)
        return images.contiguous(memory_format=torch.channels_last) if self.is_convolutional else images

    def encode_text(self, input_ids: torch.Tensor) -> torch.Tensor:
        """int64 (n, length) -> (n, text_dim), not of unit length.

        `length` is the whole context, or less where `cuts_text`: then the result is the same.
        """
        text = self.text_tower
        if input_ids.shape[1] < self._context()[0] and self._is_causal:
            return _encode_causal_text(text, input_ids)
        features: torch.Tensor = self.clip.encode_text(input_ids)  # type: ignore[operator]
        return features

    def checkpoint_gradients(self) -> None:
        """Train with less memory, for a third more time.

        Raises:
            BackboneError: a tower can't.
        """
        try:
            self.clip.set_grad_checkpointing(True)  # type: ignore[operator]
        except Exception as error:  # towers say it in different ways
            raise BackboneError(
                f"train.grad_checkpointing: {self.identity.name} has none ({str(error)[:200]}); set it to false"
            ) from None

    def compile_towers(self) -> None:
        """Run the towers through torch.compile; the first batch of each shape takes a while then.

        In place, so that the weights keep their names. A second call changes nothing.
        """
        if self._is_compiled:
            return
        self._is_compiled = True
        visual: Any = self.clip.visual
        visual.compile(dynamic=False)
        # texts are cut at the longest of a batch, so the length varies
        text = self.text_tower
        transformer: Any = text.transformer if text is self.clip else text
        transformer.compile(dynamic=True)

    @property
    def spec(self) -> BackboneSpec:
        """What can be known of it without loading it."""
        digest = tokenizer_digest(self.tokenizer, self.identity.name)
        return BackboneSpec(self.identity, self.transform, digest, self._context()[0])

    @property
    def cuts_text(self) -> bool:
        """Whether the padding after the longest text of a batch may be left out.

        So it is for a causal tower that pools at the end token, since what comes later has no influence there, and
        for a Hugging Face tower, which masks its padding. It isn't for SigLIP, which attends to its padding and pools
        the last position, nor for CoCa, whose class token stands behind the padding.
        """
        text = self.text_tower
        if isinstance(text, HFTextEncoder):
            # its max pooling is over the masked positions
            return type(text.pooler).__name__ in ("MeanPooler", "ClsPooler", "ClsLastHiddenStatePooler")
        return self._is_causal

    @property
    def text_tower(self) -> Any:
        """The part of the model that reads texts."""
        return getattr(self.clip, "text", self.clip)

    @property
    def _is_causal(self) -> bool:
        """Whether it is open_clip's own causal tower, pooled at a token of the text."""
        text = self.text_tower
        if isinstance(text, TextTransformer):
            plain = text.cls_emb is None and not text.use_pad_mask and not text.output_tokens
            return plain and text.attn_mask is not None and text.pool_type in ("argmax", "eos", "first")
        pool = getattr(text, "text_pool_type", None)
        return pool in ("argmax", "eos", "first") and getattr(text, "attn_mask", None) is not None

    def image_parameters(self) -> list[nn.Parameter]:
        """Parameters of the image tower."""
        return list(self.clip.visual.parameters())  # type: ignore[union-attr]

    def text_parameters(self) -> list[nn.Parameter]:
        """Parameters of the text tower."""
        return [
            parameter
            for name, parameter in self.clip.named_parameters()
            if not name.startswith("visual.") and name not in UNUSED
        ]

    def tokenize(self, texts: list[str], max_len: int) -> Tokens:
        """Tokenise texts, cut to `max_len` tokens, the end token kept, padded to what the tower reads.

        The tokenizer gets them in letters that it knows; see letters.py.

        Raises:
            BackboneError: `max_len` is more than the text tower reads.
        """
        limit, fixed = self._context()
        if max_len > limit:
            raise BackboneError(
                f"data.max_len: found {max_len}, but the text tower of {self.identity.name} reads {limit} tokens at "
                f"most; set data.max_len={limit}"
            )
        context = limit if fixed else max_len
        ids = torch.empty((len(texts), context), dtype=torch.int32)
        mask = torch.zeros((len(texts), context), dtype=torch.bool)
        truncated = torch.zeros(len(texts), dtype=torch.bool)
        for start in range(0, len(texts), 4096):
            part = [self._letters.rewrite(text) for text in texts[start : start + 4096]]
            cut = self.tokenizer(part, context_length=max_len)
            lengths = self._lengths(cut)
            rows = slice(start, start + len(part))
            ids[rows] = self._pad_value()
            ids[rows, :max_len] = cut.int()
            mask[rows, :max_len] = torch.arange(max_len) < lengths[:, None]
            # a text that fills its row may or may not have been cut: one token more tells
            full = torch.nonzero(lengths == max_len).flatten()
            if len(full):
                longer = self.tokenizer([part[row] for row in full.tolist()], context_length=max_len + 1)
                truncated[start + full] = self._lengths(longer) > max_len
        return Tokens(ids, mask, truncated, cuttable=self.cuts_text)

    def load_towers(self, state: dict[str, torch.Tensor], image_size: int) -> None:
        """Load the towers of a fine-tuned checkpoint that was trained at `image_size`, strictly.

        Raises:
            CheckpointError: names or shapes differ from this backbone's.
        """
        visual: Any = self.clip.visual
        resizable = hasattr(visual, "set_input_size") and image_size != self.transform.img_size
        try:
            if resizable:  # timm towers resize themselves, with their weights in them
                visual.set_input_size(image_size)
            else:
                resize_pos_embed(state, self.clip)
            self.clip.load_state_dict(state, strict=True)
            if resizable:
                visual.set_input_size(self.transform.img_size)
        except (RuntimeError, KeyError, AttributeError) as error:
            raise CheckpointError(
                f"the checkpoint's towers don't fit {self.identity.name}: {str(error).strip().splitlines()[-1].strip()}"
            ) from None

    def _context(self) -> tuple[int, bool]:
        """Tokens that the text tower reads at most, and whether it must be given just as many."""
        text = self.text_tower
        return int(text.context_length), hasattr(text, "positional_embedding")

    def _pad_value(self) -> int:
        """The id that fills a row up; open_clip's own tokenizer uses 0, which is also a real BPE id."""
        inner = getattr(self.tokenizer, "tokenizer", None)
        return int(inner.pad_token_id or 0) if inner is not None else 0

    def _lengths(self, ids: torch.Tensor) -> torch.Tensor:
        """int64 (n,): number of real tokens of each row."""
        if getattr(self.tokenizer, "tokenizer", None) is None:
            return ids.argmax(dim=1) + 1  # CLIP's end token has the highest id
        return (ids != self._pad_value()).sum(dim=1)


def last_layers(visual: Any, images: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """What an image tower computes of pictures, and what two of its layers did on the way there.

    A layer is a block of a transformer or a stage of a convolutional network; its features are the mean over the
    places of the picture. Taken are the one at three quarters of the depth and the last.

    Args:
        visual: a tower of open_clip.
        images: float (n, 3, height, width), normalised.

    Returns:
        (n, image_dim), and float32 (n, channels) for each layer; none of a tower that doesn't tell its layers.
    """
    if not hasattr(visual, "forward_intermediates"):
        return visual(images), []
    found = visual.forward_intermediates(images)
    layers = found["image_intermediates"]
    places = sorted({-(-3 * len(layers) // 4) - 1, len(layers) - 1})
    return found["image_features"], [layers[place].float().mean(dim=(2, 3)) for place in places if place >= 0]


def _encode_causal_text(text: Any, input_ids: torch.Tensor) -> torch.Tensor:
    """What open_clip's causal towers compute, for texts shorter than their context, which they refuse themselves."""
    length = input_ids.shape[1]
    dtype = text.transformer.get_cast_dtype()
    x = text.token_embedding(input_ids).to(dtype) + text.positional_embedding[:length].to(dtype)
    x = text.ln_final(text.transformer(x, attn_mask=text.attn_mask[:length, :length]))
    if isinstance(text, TextTransformer):
        pool, end = text.pool_type, text.eos_id
    else:
        pool, end = text.text_pool_type, getattr(text, "text_eos_id", None)
    features: torch.Tensor = text_global_pool(x, input_ids, pool, eos_token_id=end)
    projection = text.text_projection
    if projection is not None:
        features = projection(features) if isinstance(projection, nn.Linear) else features @ projection
    return features
