"""python -m pytest tests/config/test_config.py"""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from mmclf.config import (
    Config,
    build_config,
    check_stage,
    known_keys,
    read_yaml,
    resolve_config,
    stage_of,
)
from mmclf.errors import ConfigError
from tests.trees import refusal, small_tree

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
STAGE1 = CONFIGS / "stage1.yaml"

# the recipe of the report, key by key
RECIPE = {
    "data.id_col": "id",
    "data.label_col": None,
    "data.text_cols": None,
    "data.fold_col": "fold",
    "data.group_col": None,
    "data.groups_csv": None,
    "data.classes_csv": None,
    "data.img_size": 224,
    "data.max_len": 77,
    "data.multi_image_mode": "first",
    "data.on_bad_image": "placeholder",
    "data.max_megapixels": 50,
    "data.follow_links": False,
    "data.fast_jpeg": True,
    "data.num_workers": None,
    "model.name": "ViT-L-14-quickgelu",
    "model.pretrained": "openai",
    "model.head": "mlp",
    "model.hidden_dim": 512,
    "model.dropout": 0.1,
    "model.kernels": ["image", "layers", "outline", "text", "title", "product", "words", "chars", "title_chars"],
    "model.templates": ["a photo of a {}", "a product photo of {}", "{}"],
    "model.sides": ["picture", "text"],
    "train.weight_decay": 0.01,
    "train.warmup_ratio": 0.0,
    "train.label_smoothing": 0.0,
    "train.grad_accum": 1,
    "train.early_stop_patience": 2,
    "train.ema": None,
    "train.views": None,
    "train.amp": True,
    "train.compile": False,
    "train.grad_checkpointing": False,
    "train.patch_dropout": 0.0,
    "train.lora_rank": None,
    "train.save_minutes": 10.0,
    "train.folds": 5,
    "train.seed": 42,
    "infer.batch_size": 64,
    "infer.tta": True,
    "infer.img_sizes": None,
}
STAGES = {
    "stage1.yaml": {
        "model.clip_trainable": False,
        "train.epochs": 5,
        "train.batch_size": 64,
        "train.lrs.image_encoder": 0.0,
        "train.lrs.text_encoder": 0.0,
        "train.lrs.head": 1e-3,
    },
    "stage2.yaml": {
        "model.clip_trainable": True,
        "train.epochs": 20,
        "train.batch_size": 32,
        "train.lrs.image_encoder": 1e-5,
        "train.lrs.text_encoder": 1e-5,
        "train.lrs.head": 3e-4,
    },
}


def refused_text(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    message = refusal(path)
    assert message.startswith(str(path))
    return message.removeprefix(f"{path}: ")


# the shipped files


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.y*ml")), ids=lambda path: path.relative_to(CONFIGS).as_posix())
def test_every_shipped_config_loads(path):
    assert isinstance(resolve_config(path), Config)


@pytest.mark.parametrize("name", sorted(STAGES))
def test_the_recipe_is_shipped_exactly(name):
    assert resolve_config(CONFIGS / name).flat() == RECIPE | STAGES[name]


@pytest.mark.parametrize("name", sorted(STAGES))
def test_the_recipes_spell_out_every_key(name):
    stated = build_config(read_yaml(CONFIGS / name)).model_dump(exclude_unset=True)
    whole = resolve_config(CONFIGS / name).model_dump()
    for key in ("kernels", "templates", "sides"):  # of another head
        del whole["model"][key]
    del whole["data"]["classes_csv"]
    assert stated == whole


# files that can't be used


def test_missing_file_names_the_path_and_the_shipped_ones(tmp_path):
    message = refusal(tmp_path / "no.yaml")
    assert str(tmp_path / "no.yaml") in message
    assert "no such file" in message
    assert "configs/" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("- a\n- b\n", "holds a list, not sections"),
        ("just words", "holds a str, not sections"),
        ("data:\n\tid_col: x\n", "not valid YAML"),
        ("data: {id_col: [}", "not valid YAML"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
        ("data: {}\ndata: {}\n", "key 'data' twice"),
        ("data:\n  img_size: 224\n  img_size: 336\n", "key 'img_size' twice"),
        ("data: {id_col: 2026-13-01}", "not valid YAML: month must be in 1..12"),
        ("data: " + "[" * 3000, "not valid YAML"),
        ("? [a]\n: 3\n", "not valid YAML"),
        ("2026-01-01: x\n", "keys are words"),
        ("data: &x [*x]\n", "Circular reference"),
        ("data: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
        ('data: {id_col: "\\ud800"}', "surrogates not allowed"),
        ("data: {id_col: größe}".encode("latin-1"), "byte 17 is not UTF-8; save the file as UTF-8"),
    ],
)
def test_unusable_file_is_named_with_the_reason(tmp_path, text, expected):
    assert expected in refused_text(tmp_path, text)


def test_the_line_of_a_key_given_twice_is_named(tmp_path):
    assert "line 3" in refused_text(tmp_path, "data:\n  img_size: 224\n  img_size: 336\n")


def test_folder_instead_of_a_file(tmp_path):
    assert refusal(tmp_path) == f"{tmp_path}: can't be read: Is a directory"


def test_byte_order_mark_and_merge_keys_are_read(tmp_path):
    text = "model: {clip_trainable: false}\ntrain: &t\n  epochs: 2\n  batch_size: 4\n  lrs: &l\n"
    text += "    image_encoder: 0\n    text_encoder: 0\n    head: 1e-2\n"
    merged = text.replace("lrs: &l\n", "lrs:\n      <<: {image_encoder: 0, text_encoder: 0, head: 1}\n")
    merged = merged.replace("    image_encoder: 0\n    text_encoder: 0\n    head: 1e-2\n", "      head: 1e-2\n")
    for number, document in enumerate((text, merged)):
        path = tmp_path / f"{number}.yaml"
        path.write_bytes(b"\xef\xbb\xbf" + document.encode())
        assert resolve_config(path).train.lrs.head == 0.01


# keys and values


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("data.img_sise", "224", "data.img_sise: unknown key; did you mean data.img_size?"),
        ("train.img_size", "224", "train.img_size: unknown key; did you mean data.img_size?"),
        ("infer.img_size", "224", "infer.img_size: unknown key; did you mean data.img_size?"),
        ("train.dropout", "0.1", "train.dropout: unknown key; did you mean model.dropout?"),
        ("model.epochs", "3", "model.epochs: unknown key; did you mean train.epochs?"),
        ("train.tta", "true", "train.tta: unknown key; did you mean infer.tta?"),
        ("epochs", "3", "epochs: unknown key; did you mean train.epochs?"),
        ("model.zzzzzz", "1", "model.zzzzzz: unknown key; known keys here: name, pretrained, head"),
        ("zzzzzz.a", "1", "zzzzzz: unknown key; known keys here: data, model, train, infer"),
    ],
)
def test_unknown_key_is_named_with_the_right_one(key, value, expected):
    assert f"overrides: {expected}" in refusal(STAGE1, f"{key}={value}")


def test_right_key_in_any_wrong_section_is_told_where_it_belongs():
    known = list(resolve_config(STAGE1).flat())
    sections = {key.rpartition(".")[0] for key in known}
    for key in known:
        name = key.rpartition(".")[2]
        homes = [f"did you mean {k}?" for k in known if k.rpartition(".")[2] == name]
        for section in sections - {k.rpartition(".")[0] for k in known if k.rpartition(".")[2] == name}:
            message = refusal(STAGE1, f"{section}.{name}=1")
            assert any(home in message for home in homes), message


@pytest.mark.parametrize(
    ("override", "found", "expected"),
    [
        ("train.epochs=many", "'many' (str)", "integer"),
        ("train.epochs=true", "True (bool)", "integer"),
        ("train.epochs='\"5\"'", "'5' (str)", "integer"),
        ("train.epochs=2.5", "2.5 (float)", "integer"),
        ("train.epochs=0", "0 (int)", "greater than or equal to 1"),
        ("train.epochs=", "None (NoneType)", "integer"),
        ("train.amp=1", "1 (int)", "boolean"),
        ("train.lrs.head=true", "True (bool)", "number"),
        ("train.lrs.head=-1e-3", "-0.001 (float)", "greater than or equal to 0"),
        ("train.lrs.head=.nan", "nan (float)", "finite"),
        ("train.lrs.head=1e999", "inf (float)", "finite"),
        ("train.label_smoothing=1.0", "1.0 (float)", "less than 1"),
        ("train.label_smoothing=.nan", "nan (float)", "less than 1"),
        ("train.folds=1", "1 (int)", "greater than or equal to 2"),
        ("train.seed=-1", "-1 (int)", "greater than or equal to 0"),
        ("data.id_col=5", "5 (int)", "string"),
        ("data.text_cols=title", "'title' (str)", "list"),
        ("data.multi_image_mode=last", "'last' (str)", "'first', 'random' or 'mean_pool'"),
        ("data.img_size=8", "8 (int)", "greater than or equal to 16"),
        ("data=3", "3 (int)", "a section of keys"),
        ("data=", "None (NoneType)", "a section of keys"),
    ],
)
def test_wrong_value_is_named_with_what_was_found(override, found, expected):
    message = refusal(STAGE1, override)
    assert message.startswith(f"overrides: {override.partition('=')[0]}: found {found}")
    assert expected in message


def test_list_item_of_the_wrong_type_is_laid_to_the_overrides():
    assert refusal(STAGE1, "data.text_cols=[title,1]").startswith("overrides: data.text_cols.1: found 1 (int)")


def test_errors_of_the_file_and_of_the_overrides_are_told_apart(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(STAGE1.read_text().replace("img_size: 224", "img_size: big"))
    lines = refusal(path, "train.epochs=none").splitlines()
    assert [line.partition(": found")[0] for line in lines] == [f"{path}: data.img_size", "overrides: train.epochs"]


@pytest.mark.parametrize("key", ["model.clip_trainable", "train.epochs", "train.batch_size", "train.lrs.head"])
def test_what_differs_between_the_stages_must_be_stated(tmp_path, key):
    tree = read_yaml(STAGE1)
    *parents, name = key.split(".")
    node = tree
    for parent in parents:
        node = node[parent]
    del node[name]
    message = refused_text(tmp_path, yaml.safe_dump(tree))
    assert message == f"{key}: missing; configs/stage1.yaml and configs/stage2.yaml show a value"


def test_missing_section_is_named(tmp_path):
    lines = refused_text(tmp_path, "data: {}\n").splitlines()
    assert lines[0].startswith("model: missing")
    assert "train: missing" in lines[1]


# the configuration itself


def test_flat_has_dotted_keys_in_the_order_of_declaration():
    keys = list(build_config(small_tree()).flat())
    assert keys[0] == "data.id_col"
    assert keys[-1] == "infer.img_sizes"
    assert keys.index("train.lrs.image_encoder") < keys.index("train.lrs.head") < keys.index("train.weight_decay")
    assert set(keys) == set(RECIPE) | set(STAGES["stage1.yaml"])


def test_fingerprint_is_stable_over_processes_and_machines():
    # a change of this value means that runs recorded before can no longer be told to be the same recipe
    assert resolve_config(STAGE1).fingerprint() == "4c1049147646"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[a photo]",
            "model.templates.0: found 'a photo' (str), but it should hold {} once, where the class's name goes",
        ),
        ("['{} and {}']", "model.templates.0: found '{} and {}' (str), but it should hold {} once"),
        ("[]", "model.templates: found []"),
    ],
)
def test_a_template_has_one_place_for_a_name(tmp_path, text, said):
    path = tmp_path / "names.yaml"
    path.write_text(f"model: {{clip_trainable: false, head: zero-shot, templates: {text}}}\n")
    assert said in refusal(path)


def test_fingerprint_does_not_depend_on_spelling_or_order(tmp_path):
    lines = "train:\n  lrs: {head: 1e-2, text_encoder: 0, image_encoder: 0.0}\n  batch_size: 4\n  epochs: 2\n"
    path = tmp_path / "other.yaml"
    path.write_text(lines + "model: {clip_trainable: no}\n")
    assert resolve_config(path).fingerprint() == build_config(small_tree()).fingerprint()


def test_fingerprint_changes_with_every_key():
    other = {
        "data.label_col": "x",
        "data.text_cols": "[x]",
        "data.group_col": "x",
        "data.groups_csv": "x",
        "data.classes_csv": "x",
        "data.multi_image_mode": "random",
        "data.on_bad_image": "error",
        "data.num_workers": "1",
        "model.head": "kernel",
        "model.kernels": "[image]",
        "model.templates": """'["a {}"]'""",
        "model.sides": "[text]",
        "train.ema": "0.5",
        "train.lora_rank": "1",
        "train.views": "1",
        "infer.img_sizes": "[32]",
    }
    config = resolve_config(STAGE1)
    seen = {config.fingerprint()}
    for key, value in config.flat().items():
        if key in other:
            changed = other[key]
        elif isinstance(value, bool):
            changed = str(not value).lower()
        elif isinstance(value, str):
            changed = value + "x"
        else:
            changed = str(value + 1) if isinstance(value, int) else str(value + 0.5)
        seen.add(resolve_config(STAGE1, f"{key}={changed}").fingerprint())
    assert len(seen) == 1 + len(config.flat())


@pytest.mark.parametrize(
    "overrides", ["", 'data.id_col=größe data.text_cols=\'[名前, "no", "1e5"]\' train.lrs.head=1e-7']
)
def test_to_yaml_is_read_back_unchanged(tmp_path, overrides):
    config = resolve_config(STAGE1, overrides)
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert resolve_config(path) == config
    assert resolve_config(path).fingerprint() == config.fingerprint()


def test_a_configuration_can_not_be_changed():
    config = resolve_config(STAGE1)
    for section, key in [
        (config, "data"),
        (config.data, "img_size"),
        (config.train, "epochs"),
        (config.train.lrs, "head"),
    ]:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, key, getattr(section, key))


# which key applies to which stage


@pytest.mark.parametrize(
    ("stage", "overrides", "said"),
    [
        ("stage1", "train.grad_checkpointing=true", "train.grad_checkpointing: found true, but it is for training the"),
        ("stage1", "train.patch_dropout=0.5", "train.patch_dropout: found 0.5, .*stage 1 leaves it at 0.0"),
        ("stage1", "train.lora_rank=8", "train.lora_rank: found 8, .*stage 1 leaves it at null"),
        ("stage1", "train.lrs.image_encoder=1e-5", "train.lrs.image_encoder: found 1e-05, .*stage 1 leaves it at 0.0"),
        ("stage1", "model.clip_trainable=true", "model.clip_trainable is true, but stage 1 keeps the towers frozen"),
        ("stage2", "train.views=0", "train.views: found 0, but it is for stored features.*stage 2 leaves it at null"),
        ("stage2", "model.clip_trainable=false", "model.clip_trainable is false, but stage 2 trains the towers"),
    ],
)
def test_a_key_of_the_other_stage_is_refused_by_name(stage, overrides, said):
    config = resolve_config(CONFIGS / f"{stage}.yaml", overrides)
    with pytest.raises(ConfigError, match=f"^the file: {said}"):
        check_stage(config, stage, "the file")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_file_is_one_of_its_stage(path):
    stage = "stage2" if "stage2" in path.stem else "stage1"
    check_stage(resolve_config(path), stage, str(path))


def test_the_stage_of_each_key_is_known():
    found = {key: stage_of(key) for key in known_keys() if "." in key}
    assert {key for key, stage in found.items() if stage == "stage1"} == {"train.views", "model.head"}
    of_stage2 = {"train.grad_checkpointing", "train.patch_dropout", "train.lora_rank"}
    of_stage2 |= {"train.lrs.image_encoder", "train.lrs.text_encoder"}
    assert {key for key, stage in found.items() if stage == "stage2"} == of_stage2
