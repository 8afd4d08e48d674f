"""Made-up data to try the package on: a drawn shop catalogue and a tiny CLIP model, no download needed."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_folder(out: Path, marker: str) -> Iterator[Path]:
    """Yield an empty folder next to `out` that takes its place only when the block ends without an error.

    A failed or interrupted block leaves `out` as it was. `marker` is the name of the file by which an
    earlier result is recognised: a folder that holds it is replaced.

    Raises:
        FileExistsError: `out` is a file, or a folder with something in it that was not made here.
    """
    if out.exists() and not (out / marker).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise FileExistsError(f"{out} exists and was not made by this function; choose another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    # A sibling, because a rename is atomic only inside one file system.
    unique = uuid.uuid4().hex[:12]
    part = out.with_name(f".{out.name}.{unique}.part")
    old = out.with_name(f".{out.name}.{unique}.old")
    part.mkdir()
    try:
        yield part
        if out.exists():
            out.rename(old)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
