"""batch on a real Spark with two workers, against infer: the same figures, restart, rows that can't be scored.

.venv/bin/python -m pytest -m slow tests/spark/test_batch.py

Needs pyspark (`pip install '.[spark]'`) and Java 17.
"""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from entrypoints import batch as entry_point
from entrypoints import infer, register, stage1
from mmclf.data.catalog import match_pictures
from mmclf.evaluation.probabilities import read_table
from tests.stages import write_tree
from tests.stores import mlflow_store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("java") is None, reason="no Java, which Spark needs"),
]
pytest.importorskip("pyspark", reason="no pyspark: pip install '.[spark]'")

PROJECT = Path(__file__).resolve().parents[2]
ROWS = 5000


@pytest.fixture(scope="module")
def store(tmp_path_factory, shop, tree):
    """A champion, and a table of 5,000 rows: the shop's training rows again and again, pictures as links."""
    folder = tmp_path_factory.mktemp("batch")
    tree = tree | {"data": tree["data"] | {"follow_links": True}}
    write_tree(folder / "stage1.yaml", "stage1", tree)
    train = pd.read_csv(shop.train_csv, dtype=str, keep_default_na=False).drop(columns="categories")
    rows = train.iloc[np.arange(ROWS) % len(train)].reset_index(drop=True)
    copies = np.arange(ROWS) // len(train)
    (folder / "images").mkdir()
    files = sorted(shop.images.iterdir())
    for copy in range(copies.max() + 1):
        for path in files:
            (folder / "images" / f"c{copy}-{path.name}").symlink_to(path)
    rows["id"] = [f"c{copy}-{i}" for copy, i in zip(copies, rows["id"], strict=True)]
    rows.loc[7, "title"] = 'a "quoted" title,\nover two lines'
    rows.to_csv(folder / "big.csv", index=False)
    with mlflow_store(folder):
        call(
            stage1, "--csv", str(shop.train_csv), "--images", str(shop.images), "--config", str(folder / "stage1.yaml")
        )
        call(register)
        yield folder


def call(module, *options: str) -> dict:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert module.main(list(options)) == 0
    return json.loads(out.getvalue())


def command(store: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "entrypoints.batch", "--master", "local[2]", "--top-k", "1000", *options]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(PROJECT)}


def batch(*options: str, code: int = 0) -> tuple[str, str]:
    """Output and messages of a run in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert entry_point.main(["--master", "local[2]", "--top-k", "1000", *options]) == code, err.getvalue()
    return out.getvalue(), err.getvalue()


def expected(store: Path, table: str, images: str) -> pd.DataFrame:
    """What infer says, a column a class."""
    out = store / "infer"
    call(infer, "--csv", str(store / table), "--images", str(store / images), "--out", str(out))
    found = read_table(out / "probabilities.parquet")
    return pd.DataFrame(found.probabilities, index=found.ids, columns=list(found.classes))


def check_equal(found: pd.DataFrame, reference: pd.DataFrame) -> None:
    assert not found["id"].duplicated().any()
    columns = list(reference.columns)
    ours = [
        pd.Series(confidences, index=labels)[columns].to_numpy()
        for labels, confidences in zip(found["top_labels"], found["top_confidences"], strict=True)
    ]
    theirs = reference.loc[found["id"]].to_numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_allclose(found["confidence"], theirs.max(axis=1), atol=1e-5)


def test_5000_rows_on_two_workers_killed_and_started_again(store):
    options = ["--data", "big.csv", "--images", "images", "--out", "scored", "--part-rows", "1300"]
    process = subprocess.Popen(
        command(store, *options),
        cwd=store,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    finished: list[Path] = []
    while len(finished) < 2:  # of four parts
        assert process.poll() is None
        time.sleep(0.05)
        finished = [path for path in (store / "scored").glob("part=*") if (path / "_SUCCESS").exists()]
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for part in finished for path in part.iterdir()}
    shutil.rmtree(finished[0])  # a part that went away is made again
    done = subprocess.run(
        command(store, *options), cwd=store, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    output, said = done.stdout, done.stderr
    result = json.loads(output)
    assert (result["rows"], result["failed"]) == (ROWS, 0)
    assert "on local[2], Spark 4" in said
    assert " rows, 0 failed, kept" in said
    kept = {path: time for path, time in before.items() if finished[0] not in path.parents}
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    table = pd.read_parquet(store / "scored")
    assert set(table.columns) == {"id", "label", "confidence", "top_labels", "top_confidences", "error", "part"}
    assert table["error"].isna().all()
    # a row is scored the same in any company, so infer needs no more than each of them once
    copies = pd.read_csv(store / "big.csv", dtype=str, keep_default_na=False)
    assert set(table["id"]) == set(copies["id"])
    once = copies[copies["id"].str.startswith(("c0-", "c1-"))]
    reference = expected_of(store, once)
    by_product = reference[reference.index.str.startswith("c1-")].rename(index=lambda i: i.partition("-")[2])
    found = table.assign(id=table["id"].where(table["id"] == copies["id"][7], table["id"].str.partition("-")[2]))
    special = found["id"] == copies["id"][7]
    check_equal(found[special], reference)
    for _, part in found[~special].groupby(table["id"].str.partition("-")[0]):
        check_equal(part, by_product)
    again, said = batch(*options)
    assert said.count("kept") == 4
    assert json.loads(again)["rows"] == ROWS
    _, error = batch(*options[:-2], "--top-k", "2", code=2)
    assert "error: --out" in error
    assert "top_k: 1000 there, 2 here" in error


def test_pictures_in_a_column_and_rows_that_fail(store):
    table = pd.read_csv(store / "big.csv", dtype=str, keep_default_na=False).head(60)
    names = match_pictures(store / "images", list(table["id"]), follow_links=True)
    contents = [(store / "images" / found[0]).read_bytes() if found else None for found in names]
    assert sum(content is not None for content in contents) > 30
    reference = expected_of(store, table)
    table["image"] = contents
    table.loc[3, "image"] = b"no picture"
    (store / "columns").mkdir()
    for number in range(3):  # a part is one of the files
        table.iloc[number::3].to_parquet(store / "columns" / f"{number}.parquet")
    environment = dict(os.environ)
    output, said = batch("--data", "columns", "--out", "scored-columns")
    assert dict(os.environ) == environment  # the threads of the workers are not those of this process
    assert "part 3/3" in said
    assert json.loads(output)["failed"] == 1
    found = pd.read_parquet(store / "scored-columns")
    bad = found[found["id"] == table.loc[3, "id"]].iloc[0]
    assert bad["error"].startswith("image: cannot identify image file")
    assert bad[["label", "confidence", "top_labels", "top_confidences"]].isna().all()
    fine = reference.drop(index=table.loc[3, "id"])
    check_equal(found[found["error"].isna()], fine)


def expected_of(store: Path, table: pd.DataFrame) -> pd.DataFrame:
    table.to_csv(store / "some.csv", index=False)
    return expected(store, "some.csv", "images")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--data", "nowhere.csv"], "error: Spark: [PATH_NOT_FOUND]"),
        (["--data", "big.csv", "--model", "models:/nobody@champion"], "error: --model: models:/nobody@champion"),
        (["--data", "twice.csv"], "error: --data: column 'id': an id 'a' occurs 2 times"),
        (["--data", "noid.csv"], "error: --data: "),
    ],
)
def test_mistakes_are_one_sentence(store, options, said):
    (store / "twice.csv").write_text("id,title\na,x\na,y\n")
    (store / "noid.csv").write_text("sku,title\na,x\n")
    _, error = batch(*options, "--out", "unused", code=2)
    assert said in error
    assert "Traceback" not in error
    assert not list((store / "unused").glob("part=*"))


def test_a_picture_that_goes_away_costs_its_row_only(store):
    """And a plan that was interrupted is made again."""
    table = pd.read_csv(store / "big.csv", dtype=str, keep_default_na=False).head(40)
    (store / "few").mkdir()
    for names in match_pictures(store / "images", list(table["id"]), follow_links=True):
        for name in names:
            (store / "few" / name).symlink_to((store / "images" / name).resolve())
    table.to_csv(store / "few.csv", index=False)
    (store / "scored-few" / "_plan").mkdir(parents=True)
    (store / "scored-few" / "_plan" / "part-0").write_text("half a plan")
    options = ["--data", "few.csv", "--images", "few", "--out", "scored-few", "--part-rows", "25"]
    assert json.loads(batch(*options)[0])["failed"] == 0
    before = pd.read_parquet(store / "scored-few").set_index("id")
    names = dict(zip(table["id"], match_pictures(store / "few", list(table["id"]), follow_links=True), strict=True))
    gone = next(i for i in before.index if before.loc[i, "part"] == 0 and names[i])
    (store / "few" / names[gone][0]).unlink()
    shutil.rmtree(store / "scored-few" / "part=0")
    assert json.loads(batch(*options)[0])["failed"] == 1
    after = pd.read_parquet(store / "scored-few").set_index("id")
    assert after.loc[gone, "error"] == "image: its file is gone"
    assert sorted(after.index) == sorted(table["id"])
    same = after.drop(index=gone)
    assert list(same["label"]) == list(before.loc[same.index, "label"])
    np.testing.assert_allclose(same["confidence"], before.loc[same.index, "confidence"], atol=1e-5)


def test_a_folder_with_something_else_is_refused(store):
    (store / "mine").mkdir()
    (store / "mine" / "notes.txt").write_text("x")
    _, error = batch("--data", "big.csv", "--images", "images", "--out", "mine", code=2)
    assert "is not empty and no result of batch" in error
    assert [path.name for path in (store / "mine").iterdir()] == ["notes.txt"]
