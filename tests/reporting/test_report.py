"""The whole page: what it says, for whom it can be read, and for which runs it is made.

.venv/bin/python -m pytest tests/reporting/test_report.py
"""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mmclf.evaluation.crossvalidation import figures_of
from mmclf.evaluation.intervals import bootstrap
from mmclf.reporting.evidence import Member, Modalities
from mmclf.reporting.report import make_report
from tests.reporting.pages import Page, draw_evidence, draw_histories


def rows_of(report, name):
    return list(csv.DictReader(io.StringIO(report.files[name].decode())))


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    found = draw_evidence(folder=tmp_path_factory.mktemp("pictures"), skill=1.5, histories=draw_histories())
    text, picture = (np.roll(found.table.probabilities, n, axis=1) for n in (0, 1))
    both = np.arange(len(found)) % 3 > 0
    return replace(found, modalities=Modalities(both, text, picture), cut=np.arange(len(found)) % 4 == 0)


@pytest.fixture(scope="module")
def report(evidence):
    return make_report(evidence)


@pytest.fixture(scope="module")
def page(report) -> Page:
    return Page(report.html)


def test_the_page_is_whole_and_can_be_read_by_everybody(page):
    assert page.problems == []


def test_nothing_is_fetched(report):
    for word in ("http-equiv", "@import", "fetch(", "XMLHttpRequest", "url(http", "<link", "<iframe"):
        assert word not in report.html


def test_it_has_a_section_for_each_question(page):
    anchors = [attributes["href"] for attributes in page.all("a")]
    assert anchors[0] == "#content"
    names = ["figures", "confusions", "classes", "confidence", "slices", "labels", "curves", "files"]
    assert anchors[1:] == [f"#{name}" for name in names]


def test_the_figures_are_those_of_the_matrix_with_intervals(evidence, report, page):
    expected = bootstrap(evidence.table)
    rows = rows_of(report, "figures.csv")
    found = {row["figure"]: [float(row[name]) for name in ("value", "from", "to")] for row in rows}
    for name, key in (("top-1", "top1"), ("macro-F1", "macro_f1"), ("calibration error", "calibration_error")):
        assert found[name] == pytest.approx([expected[key].value, expected[key].low, expected[key].high], abs=1e-6)
    shown = page.tables["The figures of all products together, with 95 % intervals"]
    assert shown[1][:2] == ["top-1", f"{evidence.hits.mean():.3f}"]
    folds = rows_of(report, "folds.csv")
    assert [float(row["top-1"]) for row in folds] == pytest.approx([f.top1 for f in evidence.figures.folds], abs=1e-6)
    assert folds[0]["best epoch"] == "4 of 4"


def test_the_matrix_has_every_count(evidence, page):
    matrix = page.tables["Rows: the given label. Columns: what it is taken for. Shaded by the share of the row."]
    names = matrix[0][1:]
    counts = {(row[0], name): int(cell or 0) for row in matrix[1:] for name, cell in zip(names, row[1:], strict=True)}
    assert sum(counts.values()) == len(evidence)
    for given in range(4):
        for taken in range(4):
            expected = ((evidence.targets == given) & (evidence.predictions == taken)).sum()
            assert counts[f"class {given:03}", f"class {taken:03}"] == expected


def test_every_plot_is_there_as_png_too_and_every_table_as_csv(report, page):
    pictures = sorted(name for name in report.files if name.endswith(".png"))
    assert len(pictures) == len(page.all("svg")) + 1  # the matrix is a table in the page
    for name in pictures:
        with Image.open(io.BytesIO(report.files[name])) as opened:
            assert min(opened.size) > 200
    assert {"classes.csv", "confusions.csv", "slices.csv", "label_issues.csv", "modalities.csv"} <= set(report.files)
    for name in report.files:
        assert name in page.text


def test_the_classes_are_in_the_table_and_its_headings_sort(evidence, report, page):
    rows = rows_of(report, "classes.csv")
    assert sum(int(row["products"]) for row in rows) == len(evidence)
    assert [int(row["mistakes"]) for row in rows] == sorted((int(row["mistakes"]) for row in rows), reverse=True)
    for row in rows:
        of_class = evidence.targets == evidence.table.classes.index(row["class"])
        assert float(row["recall"]) == pytest.approx(evidence.hits[of_class].mean(), abs=1e-6)
    assert "Precision, recall and F1 of each class; a heading sorts" in page.tables
    assert all(attributes.get("type") == "button" for attributes in page.all("button"))
    assert len(page.all("button")) >= 9


def test_pictures_are_small_and_what_lacks_them_says_so(report, page):
    pictures = page.all("img")
    assert pictures
    assert all(attributes["src"].startswith("data:image/jpeg;base64,") for attributes in pictures)
    assert "no picture" in page.text
    assert "the picture can't be read" in page.text


def test_the_doubtful_labels_are_in_a_table_to_send_away(evidence, report):
    rows = rows_of(report, "label_issues.csv")
    assert len(rows) == (~evidence.hits).sum()
    assert list(rows[0]) == [
        "id", "given_label", "suggested_label", "given_probability", "suggested_probability", "decided_by", "text",
        "pictures",
    ]  # fmt: skip
    first = evidence.table.ids.index(rows[0]["id"])
    assert rows[0]["given_label"] == evidence.table.labels[first]
    assert rows[0]["suggested_label"] == evidence.table.classes[evidence.predictions[first]]
    assert rows[0]["text"] == evidence.rows.texts[first]


def test_what_is_known_of_the_modalities_is_counted(evidence, report):
    rows = {(row["what"], row["which"]): row for row in rows_of(report, "modalities.csv")}
    assert int(rows["judged by", "picture and text"]["products"]) == evidence.modalities.both.sum()
    both = evidence.modalities.both
    assert float(rows["judged by", "picture and text"]["right"]) == pytest.approx(evidence.hits[both].mean(), abs=1e-6)
    # the text alone gives what both give, the picture never does
    assert int(rows["decided by", "the text"]["products"]) == both.sum()
    assert int(rows["decided by", "the picture"]["products"]) == 0


def test_every_product_is_in_a_table(evidence, report):
    rows = rows_of(report, "products.csv")
    assert [row["id"] for row in rows] == evidence.table.ids
    assert [row["right"] == "yes" for row in rows] == evidence.hits.tolist()
    assert [row["given"] for row in rows] == evidence.table.labels
    assert float(rows[0]["confidence"]) == pytest.approx(evidence.table.probabilities[0].max(), abs=1e-6)
    assert [row["decided by"] for row in rows] == np.where(evidence.modalities.both, "the text", "").tolist()


def test_it_is_written_as_it_is(report, tmp_path):
    report.write(tmp_path)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == report.html
    assert {path.name: path.read_bytes() for path in (tmp_path / "report").iterdir()} == report.files


def test_markup_in_the_data_stays_text(tmp_path):
    evil = "<script>alert(1)</script>\"'&<b>"
    found = draw_evidence(rows=40, skill=0.5, folder=tmp_path)
    classes = (evil, *found.table.classes[1:])
    labels = [classes[target] for target in found.targets]
    ids = [f"{evil}{n}" for n in range(len(found))]
    rows = replace(found.rows, ids=ids, texts=[evil] * len(found))
    table = replace(found.table, classes=classes, labels=labels, ids=ids)
    page = Page(make_report(replace(found, title=evil, facts=[(evil, evil)], table=table, rows=rows)).html)
    assert page.problems == []
    assert len(page.all("script")) == 1
    assert not page.all("b")
    assert page.text.count(evil) > 10


def test_a_class_may_hold_dollars_and_other_scripts(tmp_path):
    found = draw_evidence(rows=40, skill=0.5)
    classes = ("$x^2$ and $y", "日本語", "a_b%", "ä")
    table = replace(found.table, classes=classes, labels=[classes[target] for target in found.targets])
    page = Page(make_report(replace(found, table=table)).html)
    assert page.problems == []
    assert "$x^2$ and $y" in page.text


@pytest.mark.parametrize(
    ("rows", "classes", "folds"), [(20, 2, 5), (20, 2, 1), (12, 3, None), (5, 4, 1), (900, 200, 3)], ids=str
)
def test_runs_of_any_size(rows, classes, folds):
    found = draw_evidence(rows, classes, skill=2.0, folds=folds)
    report = make_report(found)
    page = Page(report.html)
    assert page.problems == []
    matrix = page.tables["Rows: the given label. Columns: what it is taken for. Shaded by the share of the row."]
    assert len(matrix) - 1 == min(classes, len(matrix) - 1) <= 40
    assert len(rows_of(report, "classes.csv")) == classes
    if classes == 200:
        assert "of 200 classes are shown" in page.text
    if folds in (1, None):
        assert "Scaling can't be judged" in page.text
    else:
        assert "Scaled by a temperature" in page.text


def test_without_a_mistake_nothing_is_doubted():
    found = draw_evidence(rows=40, skill=60.0)
    page = Page(make_report(found).html)
    assert page.problems == []
    assert "Nothing is taken for something else." in page.text
    assert "No label is doubted" in page.text


def test_classes_without_rows_have_no_figures():
    found = draw_evidence(rows=40)
    table = replace(
        found.table,
        classes=(*found.table.classes, "unseen"),
        probabilities=np.pad(found.table.probabilities, ((0, 0), (0, 1))),
    )
    report = make_report(replace(found, table=table))
    [row] = [row for row in rows_of(report, "classes.csv") if row["class"] == "unseen"]
    assert (row["products"], row["recall"], row["precision"], row["F1"]) == ("0", "", "", "")
    assert Page(report.html).problems == []


def test_a_fusion_names_its_members_and_no_catalogue_no_pictures():
    found = draw_evidence(rows=40)
    figures = figures_of(found.table)
    report = make_report(
        replace(found, members=[Member("first", "0.70", figures), Member("second", "left out", figures)])
    )
    page = Page(report.html)
    assert page.problems == []
    shown = page.tables["The members of the fusion, each alone, and all together"]
    assert [row[:2] for row in shown[1:]] == [["first", "0.70"], ["second", "left out"], ["together", ""]]
    assert "The catalogue isn't at hand" in page.text
    assert not page.all("img")
    assert "the curves are in the reports of its members" in page.text


def test_the_same_run_has_the_same_report(evidence, report):
    again = make_report(replace(evidence))
    assert again.html == report.html
    assert again.files == report.files


def test_many_rows_make_no_large_page():
    found = draw_evidence(rows=3000, classes=30, skill=1.5, folds=2)
    report = make_report(found)
    assert len(report.html) < 5e5
    assert len(rows_of(report, "label_issues.csv")) == (~found.hits).sum()
