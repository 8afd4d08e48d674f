"""What classes are called, and classes that no row has.

.venv/bin/python -m pytest tests/data/test_class_names.py
"""

import pytest

from mmclf.config import DataConfig
from mmclf.data.catalog import read_catalog
from mmclf.data.class_names import read_class_names
from mmclf.data.folds import assign_folds, fold_warnings
from mmclf.errors import TableError


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> DataConfig:
        (tmp_path / "classes.csv").write_text(text)
        return DataConfig(classes_csv=str(tmp_path / "classes.csv"))

    return write


def test_names_by_label(write):
    assert read_class_names(write("label,name\n c1 ,a mug\n2, chair \n")) == {"c1": "a mug", "2": "chair"}
    assert read_class_names(DataConfig()) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("label,title\na,b\n", r"classes\.csv: no column 'name' \(data\.classes_csv\); it has 'label', 'title'"),
        ("label,name\na,b\na,c\n", r"row 2: label 'a' stands there twice; keep one of them"),
        ("label,name\na,\n", r"row 1: column 'name' is empty; give each label a name"),
        ("label,name\n,b\n", r"row 1: column 'label' is empty"),
    ],
)
def test_mistakes_are_named(write, text, said):
    with pytest.raises(TableError, match=said):
        read_class_names(write(text))


def test_a_label_that_no_row_has_is_a_class(shop, catalog, write):
    label = catalog.classes[3]
    config = write(f"label,name\n{label},something nice\nzz top,a new thing\n")
    found = read_catalog(shop.train_csv, shop.images, config, training=True)
    assert found.classes == (*catalog.classes, "zz top")
    assert found.classes_without_rows == ("zz top",)
    assert found.summary() == catalog.summary() | {"classes": len(found.classes), "classes_without_rows": 1}
    assert found.digest() == catalog.digest()
    folds = assign_folds(found, 2, 42)
    assert (folds == assign_folds(catalog, 2, 42)).all()
    assert fold_warnings(found, folds) == fold_warnings(catalog, folds)
    assert read_catalog(shop.test_csv, shop.images, config, training=False).classes == ()
