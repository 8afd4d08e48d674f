"""A model folder that brings code is refused, whatever anybody answers.

.venv/bin/python -m pytest tests/model/test_foreign_code.py
"""

import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, dynamic_module_utils

from mmclf.errors import BackboneError
from mmclf.model.foreign_code import check_configurations, never_asked
from mmclf.model.loading import load_backbone
from tests.towers import make_dual

CODE = """
from pathlib import Path
from transformers import BertConfig, BertTokenizerFast
Path({ran!r}).touch()
class OwnConfig(BertConfig):
    model_type = "own"
class OwnTokenizer(BertTokenizerFast):
    pass
"""


@pytest.fixture(scope="module")
def dual(tmp_path_factory):
    return make_dual(tmp_path_factory.mktemp("dual"))


@pytest.fixture
def hostile(dual, tmp_path, monkeypatch):
    """A copy of the folder with code in it, somebody who answers every question by yes, and a file that tells."""
    folder = shutil.copytree(dual, tmp_path / "model")
    (folder / "own.py").write_text(CODE.format(ran=str(tmp_path / "ran")))
    change(folder, "open_clip_config.json", lambda tree: point(tree, folder))
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    return folder


def change(folder, name, edit):
    tree = json.loads((folder / name).read_text())
    edit(tree)
    (folder / name).write_text(json.dumps(tree))


def point(tree, folder):
    tree["model_cfg"]["text_cfg"]["hf_model_name"] = str(folder)


def own_config(tree):
    tree |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}}


def own_tokenizer(tree):
    tree |= {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": [None, "own.OwnTokenizer"]}}


def refused(folder) -> str:
    with pytest.raises(BackboneError) as caught:
        load_backbone(f"local-dir:{folder}", None, 64)
    return str(caught.value)


def test_transformers_would_run_it(hostile, tmp_path):
    """Without this, the tests below could pass since the code is broken."""
    change(hostile, "config.json", own_config)
    assert type(AutoConfig.from_pretrained(hostile)).__name__ == "OwnConfig"
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(("name", "edit"), [("config.json", own_config), ("tokenizer_config.json", own_tokenizer)])
def test_code_of_a_folder_is_refused_by_name_and_not_run(hostile, tmp_path, capsys, name, edit):
    change(hostile, name, edit)
    said = refused(hostile)
    assert said.startswith(f"model.name: local-dir:{hostile}: {hostile / name} asks by 'auto_map' for code")
    assert not (tmp_path / "ran").exists()
    assert capsys.readouterr().out == ""  # nobody was asked


def test_a_configuration_that_answers_by_itself_is_refused(hostile, tmp_path):
    change(hostile, "tokenizer_config.json", own_tokenizer)
    change(
        hostile,
        "open_clip_config.json",
        lambda tree: tree["model_cfg"]["text_cfg"].update(tokenizer_kwargs={"trust_remote_code": True}),
    )
    assert "open_clip_config.json asks by 'trust_remote_code' for code" in refused(hostile)
    assert not (tmp_path / "ran").exists()


def test_a_text_tower_in_another_folder_is_looked_at_too(hostile, dual, tmp_path):
    change(hostile, "config.json", own_config)
    other = shutil.copytree(dual, tmp_path / "other")
    change(other, "open_clip_config.json", lambda tree: point(tree, hostile))
    assert f"{hostile / 'config.json'} asks by 'auto_map'" in refused(other)
    assert not (tmp_path / "ran").exists()


def test_what_is_not_looked_at_is_not_run_either(hostile, tmp_path, capsys, monkeypatch):
    """As in a repository of the hub, whose files come while the model is made."""
    monkeypatch.setattr("mmclf.model.model_names.check_configurations", lambda folder, name: None)
    change(hostile, "tokenizer_config.json", own_tokenizer)
    load_backbone(f"local-dir:{hostile}", None, 64)  # with the tokenizer that transformers has for such a model
    change(hostile, "config.json", own_config)
    assert refused(hostile).endswith("comes with code of its own, and mmclf runs none")
    assert not (tmp_path / "ran").exists()
    assert capsys.readouterr().out == ""


class Bomb:
    """What a pickle makes of it is a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_among_the_weights_is_not_run(hostile, tmp_path):
    (hostile / "open_clip_model.safetensors").unlink()
    torch.save({"state_dict": Bomb(tmp_path / "ran")}, hostile / "open_clip_pytorch_model.bin")
    assert "can't be loaded" in refused(hostile)
    assert not (tmp_path / "ran").exists()
    torch.load(hostile / "open_clip_pytorch_model.bin", weights_only=False)
    assert (tmp_path / "ran").exists()


def test_the_question_comes_back_afterwards():
    before = dynamic_module_utils.TIME_OUT_REMOTE_CODE
    with never_asked():
        assert dynamic_module_utils.TIME_OUT_REMOTE_CODE == 0
    assert before == dynamic_module_utils.TIME_OUT_REMOTE_CODE > 0


@pytest.mark.parametrize(
    ("tree", "key"),
    [
        ({"a": [{"b": {"auto_map": {"AutoModel": "x.Y"}}}]}, "auto_map"),
        ({"text_config": {"trust_remote_code": True}}, "trust_remote_code"),
        ({"_attn_implementation": "owner/kernel"}, "_attn_implementation"),
        ({"attn_implementation": {"text": "owner/kernel"}}, "attn_implementation"),
    ],
)
def test_keys_are_found_at_any_depth_and_in_any_folder_below(tmp_path, tree, key):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "config.json").write_text(json.dumps(tree))
    with pytest.raises(BackboneError, match=rf"below/config\.json asks by '{key}' for code"):
        check_configurations(tmp_path, "local-dir:x")


def test_what_asks_for_nothing_passes(tmp_path):
    tree = {"auto_map": {}, "trust_remote_code": False, "attn_implementation": "sdpa", "_name_or_path": "owner/name"}
    (tmp_path / "config.json").write_text(json.dumps(tree))
    check_configurations(tmp_path, "local-dir:x")


@pytest.mark.parametrize("content", [b"\xff", b"{", b"[" * 100_000, b" " * (2**24 + 1)])
def test_a_configuration_that_cannot_be_read_is_named(tmp_path, content):
    (tmp_path / "tokenizer_config.json").write_bytes(content)
    with pytest.raises(BackboneError, match=r"local-dir:x: .*tokenizer_config\.json (can't be read|is larger)"):
        check_configurations(tmp_path, "local-dir:x")
