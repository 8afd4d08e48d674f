"""The page of a model in the store: whatever kind it is, beside its training table, with infer's own labels.

.venv/bin/python -m pytest tests/workflows/test_app.py
"""

import json
import urllib.error
import urllib.parse
import urllib.request

import pytest

from entrypoints import app as entry_point
from entrypoints import ensemble, infer, register, stage1, stage2
from mmclf.errors import ConfigError, MmclfError
from mmclf.workflows import app as workflow
from tests.stages import Project, call, kernel_project
from tests.threads import until
from tests.web.asking import product


@pytest.fixture(scope="module")
def project(tmp_path_factory, shop, tree) -> Project:
    with kernel_project(tmp_path_factory.mktemp("app"), shop, tree) as made:
        yield made


@pytest.fixture(scope="module")
def models(project) -> dict[str, str]:
    """A model of each kind."""
    kernel, _ = call(stage1, *project.train, "--config", str(project.folder / "kernel.yaml"))
    mlp, _ = call(stage1, *project.train, *project.command("stage1", "--overrides", "train.epochs=1"))
    tuned, _ = call(
        stage2,
        *project.command("stage2", "--stage1-run", mlp["run_id"], "--overrides", "train.epochs=1"),
    )
    fused, _ = call(ensemble, "--runs", f"{mlp['run_id']},{tuned['run_id']}")
    found = {name: each["run_id"] for name, each in (("mlp", mlp), ("stage 2", tuned), ("fusion", fused))}
    registered, _ = call(register, "--runs", fused["run_id"])
    return found | {"kernel": kernel["run_id"], "registered": registered["model"]}


@pytest.fixture(scope="module")
def both(catalog) -> int:
    """A row with a picture and a text."""
    rows = catalog.rows
    return next(row for row in range(len(rows)) if rows.pictures[row] and rows.texts[row])


class Page:
    """A page, asked."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, method: str, path: str, content: object = None):
        data = content if isinstance(content, bytes) or content is None else json.dumps(content).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, method=method), timeout=60) as found:
            text = found.read().decode()
        return json.loads(text) if text.startswith("{") else text


@pytest.mark.parametrize("kind", ["kernel", "mlp", "stage 2", "fusion", "registered"])
def test_every_kind_of_model_is_asked(models, project, catalog, both, kind):
    picture = (catalog.image_root / catalog.rows.pictures[both][0]).read_bytes()
    texts = {"title": catalog.rows.titles[both]}
    with workflow.opened_app(models[kind], table=project.shop.train_csv, images=project.shop.images, port=0) as serving:
        found = Page(serving.url)("POST", "products", product(texts, picture))
        assert f"{len(catalog):,} products of catalog/train.csv" in Page(serving.url)("GET", "")
    assert found["label"] in catalog.classes
    assert [each["part"] for each in found["alone"]] == ["pictures", "texts"]
    assert all(len(each["top"]) == 5 for each in found["alone"])
    assert bool(found["alone"][0]["note"]) == (kind != "kernel")
    nearest = found["neighbours"][0]
    assert nearest["label"] in catalog.classes
    assert nearest["picture"].startswith("data:image/jpeg;base64,")
    assert nearest["similarity"] > 0.9


def test_a_table_is_labelled_as_infer_does_it(models, project):
    call(infer, *project.test, "--model", models["kernel"], "--out", str(project.folder / "out"))
    with workflow.opened_app(models["kernel"], port=0) as serving:
        page = Page(serving.url)
        place = f"tables/{page('POST', 'tables', b'')['table']}"
        page("PUT", f"{place}/files?name=test.csv", project.shop.test_csv.read_bytes())
        for path in project.shop.images.iterdir():
            page("PUT", f"{place}/files?name={urllib.parse.quote(path.name)}", path.read_bytes())
        page("POST", f"{place}/start", {})
        until(lambda: page("GET", place)["stage"] != "working")
        found = page("GET", f"{place}/labelled.csv")
    assert found == (project.folder / "out" / "submission.csv").read_text()


def test_without_a_table_it_says_how_to_get_neighbours(models):
    with workflow.opened_app(models["kernel"], port=0) as serving:
        page = Page(serving.url)
        assert workflow.NO_TABLE in page("GET", "")
        assert page("POST", "products", product({"title": "red shoe"}))["neighbours"] is None
    with pytest.raises(urllib.error.URLError):
        page("GET", "")


def test_whoever_opens_it_to_a_network_is_warned(models, capsys):
    with workflow.opened_app(models["kernel"], host="0.0.0.0", port=0) as serving:
        port = serving.url.rpartition(":")[2].strip("/")
        assert "What is this product?" in Page(f"http://127.0.0.1:{port}/")("GET", "")
    assert "warning: whoever can reach 0.0.0.0 can ask the model; there is no login" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "a,b"}, r"^--model: found 'a,b'; give one model"),
        ({"table": "a.csv"}, r"^--csv and --images: give both, or none of them$"),
        ({"images": "a"}, r"^--csv and --images: give both, or none of them$"),
    ],
)
def test_options_that_do_not_go_together(options, said):
    with pytest.raises(ConfigError, match=said), workflow.opened_app(**options):
        pass


def test_mistakes_are_sentences(models, project):
    said = call(entry_point, "--model", "models:/nobody@champion", fails=True)
    assert "nobody" in said
    unlabelled = ["--csv", str(project.shop.test_csv), "--images", str(project.shop.images)]
    said = call(entry_point, "--model", models["kernel"], *unlabelled, fails=True)
    assert "no column 'categories'" in said
    with (
        pytest.raises(MmclfError, match="no such file"),
        workflow.opened_app(models["kernel"], table="nowhere.csv", images=project.shop.images),
    ):
        pass
