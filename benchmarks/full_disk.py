"""Real disks that are full or read-only: every command ends in a sentence, and ends right once there is room.

    python -m benchmarks.full_disk            # as root, on Linux: mounts a small tmpfs

On that disk lies one thing after the other: MLflow's store, the runs' files, the temporary folder, `--out`, the cache.
Each command is started with next to no room on it, then with more and more, so that each write is the one that fails
in turn, and once with the disk read-only. Each start must end with 0, or with 2 and one line `error: ...` that names
the disk; after making room the same command must end with 0. Prints what was said, and a line of counts at the end.
"""

import argparse
import contextlib
import io
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import yaml

from demo.catalog import DemoCatalog, draw_catalog
from demo.tiny_clip import make_tiny_clip
from entrypoints import ensemble, infer, register, stage1, stage2
from mmclf.records.store import connect

COMMANDS = {"stage1": stage1, "stage2": stage2, "register": register, "infer": infer, "ensemble": ensemble}
# what they import once they run
PRELOADED = [
    "alembic.command",
    "mlflow.store.tracking.sqlalchemy_store",
    "mmclf.records.champion",
    "mmclf.records.serving",
    "mmclf.records.sources",
    "mmclf.workflows.fold_training",
    "mmclf.workflows.frozen",
    "mmclf.workflows.scorer",
    "open_clip",
    "torch",
]
KIB = 2**10
SIZE = 512 * 2**20  # of all that the commands leave in one place
# KiB that are left, from none on; the last is enough for all of a command
ROOM = [0, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024]


@dataclass(frozen=True)
class Disk:
    """A mounted tmpfs."""

    folder: Path

    def leave(self, room: int) -> None:
        """Fill it up to so many bytes."""
        self.clear()
        free = os.statvfs(self.folder)
        count = free.f_bavail * free.f_frsize - room
        with (self.folder / "filler").open("wb") as file:
            file.truncate(0)
            os.posix_fallocate(file.fileno(), 0, max(count, 1))

    def clear(self) -> None:
        """Make room."""
        (self.folder / "filler").unlink(missing_ok=True)

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """Mounted without writing."""
        self.clear()
        subprocess.run(["/bin/mount", "-o", "remount,ro", str(self.folder)], check=True)
        try:
            yield
        finally:
            subprocess.run(["/bin/mount", "-o", "remount,rw", str(self.folder)], check=True)


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[Disk]:
    """A tmpfs at a new folder."""
    folder.mkdir()
    try:
        subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"can't mount a disk here ({error}); needs root on Linux", file=sys.stderr)
        raise SystemExit(3) from None
    try:
        yield Disk(folder)
    finally:
        os.chdir("/")
        subprocess.run(["/bin/umount", "--lazy", str(folder)], check=True)


@dataclass(frozen=True)
class Place:
    """What lies on the disk, and the commands that write it."""

    name: str
    commands: tuple[str, ...]
    # paths by the names of `settle`
    on_disk: tuple[str, ...]
    # the store is there before the disk is filled
    is_made: bool = True


PLACES = [
    Place("the store, new", ("stage1",), ("store",), is_made=False),
    Place("the store", ("stage1", "stage2", "register", "infer", "ensemble"), ("store",)),
    Place("the runs' files", ("stage1", "stage2", "register", "infer", "ensemble"), ("work",)),
    Place("the temporary folder", ("stage1", "stage2", "register", "infer", "ensemble"), ("temporary",)),
    Place("--out", ("infer", "ensemble"), ("out",)),
    Place("the cache", ("stage1", "infer"), ("cache",)),
]


class Shop:
    """A drawn catalogue and a tiny CLIP, and the commands on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shop: DemoCatalog = draw_catalog(folder / "shop", rows_per_class=6, test_rows_per_class=1)
        clip = make_tiny_clip(folder / "clip", image_size=32, steps=0)
        rates = {"image_encoder": 0.0, "text_encoder": 0.0, "head": 1e-2}
        tree = {
            "data": {"img_size": 32, "max_len": 16},
            "model": {"name": f"local-dir:{clip}", "pretrained": None, "hidden_dim": 32, "clip_trainable": False},
            "train": {"epochs": 1, "batch_size": 64, "lrs": rates, "folds": 2},
        }
        (folder / "stage1.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
        tree["model"] = dict(tree["model"]) | {"clip_trainable": True}  # type: ignore[call-overload]
        tree["train"] = dict(tree["train"]) | {"lrs": dict.fromkeys(rates, 1e-3)}  # type: ignore[call-overload]
        (folder / "stage2.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")

    def settle(self, place: Place, disk: Disk, number: int) -> Path:
        """New folders for everything, one of them on the disk; returns that for `--out`."""
        base = self.folder / f"place-{number}"
        paths = {
            name: (disk.folder if name in place.on_disk else base) / name
            for name in ("store", "work", "temporary", "out", "cache")
        }
        for name, path in paths.items():
            if name != "out":
                path.mkdir(parents=True)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{paths['store']}/mlflow.db"
        os.environ["MMCLF_CACHE_DIR"] = str(paths["cache"])
        os.environ["TMPDIR"] = str(paths["temporary"])
        os.chdir(paths["work"])
        if place.is_made:
            in_process(make_store)
        return paths["out"]

    def run(self, command: str, out: Path) -> tuple[int | None, str]:
        """Exit code, None for a traceback, and what was said; in a process of its own, whose files are closed then."""
        options: list[str] = []
        if command in ("stage1", "stage2"):
            options += ["--config", str(self.folder / f"{command}.yaml")]
        if command == "stage1":
            options += ["--csv", str(self.shop.train_csv), "--images", str(self.shop.images)]
        if command == "register":
            options += ["--force", "true"]
        if command == "infer":
            options += ["--csv", str(self.shop.test_csv), "--images", str(self.shop.images)]
        if command in ("infer", "ensemble"):
            options += ["--out", str(out)]
        return in_process(start, command, options)


def start(environ: dict[str, str], folder: str, command: str, options: list[str]) -> tuple[int | None, str]:
    """What `Shop.run` returns, in this process."""
    os.environ.update(environ)
    os.chdir(folder)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            code: int | None = COMMANDS[command].main(options)
    except Exception as error:
        return None, f"Traceback: {type(error).__name__}: {error}"
    return code, said.getvalue()


def make_store(environ: dict[str, str], folder: str) -> None:
    """What the first command does."""
    os.environ.update(environ)
    os.chdir(folder)
    connect()


def in_process(work: Callable[..., Any], *given: object) -> Any:
    """The result of some work in a new process, which is forked from one that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, work, dict(os.environ), str(Path.cwd()), *given))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    finally:
        process.join()


def _answer(answer: Connection, work: Callable[..., Any], *given: object) -> None:
    answer.send(work(*given))


def judge(code: int | None, said: str, disk: Disk) -> str:
    """What is wrong with how a command ended on a disk without room; "" for nothing."""
    if code is None or "Traceback" in said:
        return said.strip().splitlines()[-1]
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    if code == 0:
        return "" if not errors else "an error, and exit code 0"
    if code != 2 or len(errors) != 1:
        return f"exit code {code}, {len(errors)} errors"
    return "" if str(disk.folder) in errors[0] else f"doesn't name the disk: {errors[0]}"


def try_command(shop: Shop, command: str, out: Path, disk: Disk, rooms: Sequence[int], seen: Counter[str]) -> list[str]:
    """A command without room, with more and more, and read-only; returns what was wrong."""
    wrong = []

    def once(how: str, make: Callable[[], object]) -> int | None:
        make()
        code, said = shop.run(command, out)
        found = judge(code, said, disk)
        last = next((line for line in said.splitlines() if line.startswith("error: ")), "")
        print(f"  {command}, {how}: {code} {last}", flush=True)
        seen["named" if code == 2 else "succeeded" if code == 0 else "traceback"] += 1
        if found:
            wrong.append(f"{command}, {how}: {found}")
        return code

    for room in rooms:
        code = once(f"{room} KiB left", lambda room=room: disk.leave(room * KIB))  # type: ignore[misc]
        if code == 0 and room:  # a temporary folder without any room isn't used at all
            break
    with disk.read_only():
        once("read-only", lambda: None)
    disk.clear()
    code, said = shop.run(command, out)
    if code != 0:
        wrong.append(f"{command}, after making room: {code} {said.strip().splitlines()[-1]}")
    drafts = [str(path) for path in disk.folder.rglob(".*") if path.name.startswith(".")]
    return [*wrong, *(f"{command}: left {path}" for path in drafts)]


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; ends with 1 where something was wrong, 3 where nothing can be mounted."""
    parser = argparse.ArgumentParser(description="Every command on disks that are full or read-only.")
    parser.add_argument("--place", default="", help="only places with this word in their names")
    parser.add_argument("--every", type=int, default=1, help="only every so many of the amounts of room")
    options = parser.parse_args(argv)
    wrong: list[str] = []
    seen: Counter[str] = Counter()
    forkserver.set_forkserver_preload(PRELOADED)
    forkserver.ensure_running()
    with tempfile.TemporaryDirectory(prefix="mmclf-full-disk-") as name:
        shop = Shop(Path(name))
        for number, place in enumerate(each for each in PLACES if options.place in each.name):
            with mounted(Path(name) / f"disk-{number}") as disk:
                print(f"on the disk: {place.name}", flush=True)
                out = shop.settle(place, disk, number)
                for command in COMMANDS:
                    if command in place.commands:
                        wrong += try_command(shop, command, out, disk, ROOM[:: options.every], seen)
                    else:
                        code, said = shop.run(command, out)
                        wrong += [f"{command}: {said}"] if code else []
    print("\n".join(f"wrong: {each}" for each in wrong))
    print(f"{sum(seen.values())} starts: {', '.join(f'{count} {how}' for how, count in sorted(seen.items()))}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
