"""Tables as bytes, read as a catalogue with a folder of pictures."""

import pytest

from mmclf.config import DataConfig
from mmclf.data.catalog import read_catalog
from mmclf.errors import MmclfError


def read_text(folder, text, *, training=True, pictures=("a.jpg",), name="train.csv", **config):
    """The catalogue of a table with this content, where the folder of pictures has these files, all empty."""
    images = folder / "images"
    images.mkdir(exist_ok=True)
    for picture in pictures:
        (images / picture).write_bytes(b"")
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_catalog(path, images, DataConfig(**config), training=training)


def warnings_of(folder, text, **options):
    """The sentences about such a table, less the path that each begins with."""
    start = f"{folder / 'train.csv'}: "
    found = read_text(folder, text, **options).warnings
    assert all(sentence.startswith(start) for sentence in found)
    return [sentence.removeprefix(start) for sentence in found]


def refusal_of(folder, text, **options):
    """The message for such a table, less the path."""
    with pytest.raises(MmclfError) as caught:
        read_text(folder, text, **options)
    return str(caught.value).removeprefix(f"{folder / 'train.csv'}: ")
