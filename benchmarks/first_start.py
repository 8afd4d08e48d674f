"""Processes that start at once on a SQLite store that doesn't exist yet, and one of them killed meanwhile.

    python -m benchmarks.first_start
    python -m benchmarks.first_start --trials 4 --processes 6

In each trial so many processes open the store as every entry point does and record a run. In every second trial one of
them is killed (SIGKILL) at a random moment from the start on; the seed is printed. Each of the others must succeed, all
runs must be in the store, and so must that of one more process that comes later. Ends with 1 where they aren't.
"""

import argparse
import multiprocessing
import os
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from mmclf.records.store import connect

# imported once for all processes, so that these start at the same moment and in no time
PRELOADED = ["alembic.command", "mlflow.store.tracking.sqlalchemy_store", "mmclf.records.store", __name__]


def record_run(folder: str, barrier: Barrier | None, answer: Connection) -> None:
    """The work of a process: wait for the others, open the store, record a run; answers with why not, or "ok"."""
    os.chdir(folder)
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    if barrier is not None:
        barrier.wait()
    try:
        client = connect()
        run = client.create_run("0", tags={"process": str(os.getpid())})
        client.set_terminated(run.info.run_id)
        answer.send("ok")
    except BaseException as error:
        answer.send(f"{type(error).__name__}: {str(error).splitlines()[0][:200]}")


def try_start(folder: Path, processes: int, kill_after: float | None) -> list[str]:
    """One trial; returns what went wrong, nothing where all is well.

    Args:
        folder: empty.
        processes: that start at once.
        kill_after: seconds after which one of them is killed; None for none.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    barrier = context.Barrier(processes + 1)
    started: list[tuple[Any, Connection]] = [_start(context, folder, barrier) for _ in range(processes)]
    barrier.wait()
    victim = None
    if kill_after is not None:
        time.sleep(kill_after)
        victim = started[0][0]
        victim.kill()
    answers = {process: _answer(process, connection) for process, connection in started}
    wrong = [answer for process, answer in answers.items() if answer != "ok" and process is not victim]
    later = _answer(*_start(context, folder, None))
    if later != "ok":
        wrong.append(f"later: {later}")
    least = sum(answer == "ok" for answer in answers.values()) + (later == "ok")
    with sqlite3.connect(folder / "mlflow.db") as database:
        [found] = database.execute("SELECT COUNT(*) FROM runs").fetchone()
    database.close()
    if found < least:
        wrong.append(f"{found} runs of {least} are in the store")
    left = sorted(path.name for path in folder.iterdir() if path.name not in ("mlflow.db", "mlruns"))
    return [*wrong, f"left behind: {', '.join(left)}"] if left and victim is None else wrong


def _start(context: Any, folder: Path, barrier: Barrier | None) -> tuple[Any, Connection]:
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=record_run, args=(str(folder), barrier, theirs))
    process.start()
    theirs.close()
    return process, ours


def _answer(process: Any, connection: Connection) -> str:
    try:
        return str(connection.recv())
    except EOFError:
        return "killed"
    finally:
        process.join()


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; prints a line a trial."""
    parser = argparse.ArgumentParser(description="Many first starts of one store at once.")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    right = 0
    for trial in range(options.trials):
        seed = options.seed + trial
        moment = random.Random(seed).uniform(0, 1.5) if trial % 2 else None  # noqa: S311
        with tempfile.TemporaryDirectory(prefix="mmclf-first-start-") as name:
            start = time.perf_counter()
            wrong = try_start(Path(name), options.processes, moment)
        right += not wrong
        killed = "none killed" if moment is None else f"one killed after {moment:.3f} s"
        took = f"{time.perf_counter() - start:.1f} s"
        print(f"seed {seed}: {killed}, {took}: {'; '.join(wrong) or 'all succeeded'}", flush=True)
    print(f"{right} of {options.trials} trials with {options.processes} processes")
    return 0 if right == options.trials else 1


if __name__ == "__main__":
    sys.exit(main())
