"""Models are data: MONAI reads what we write, and what is hostile is refused."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from fixtures_models import a_bundle

from AdvSegLib.errors import BadRequest
from AdvSegLib.segmenters.bundle import INFERENCE, METADATA, WEIGHTS, load_bundle
from AdvSegLib.segmenters.catalogue import load_model, model_folder, shipped_models

ROOT = Path(__file__).resolve().parents[2]


def test_a_bundle_comes_back_as_it_was(tmp_path: Path) -> None:
    segmenter = load_bundle(a_bundle(tmp_path / "m"))
    again = load_bundle(a_bundle(tmp_path / "n"))
    x = torch.rand(1, 1, 8, 9, 10)
    assert torch.equal(segmenter.logits(x), again.logits(x))
    assert segmenter.spec == again.spec
    assert {p.relative_to(tmp_path / "m").as_posix() for p in (tmp_path / "m").rglob("*") if p.is_file()} == {
        "configs/metadata.json", "configs/inference.json", "models/model.safetensors", "docs/README.md",
    }  # fmt: skip


def all_bundles() -> list[str]:
    return list(shipped_models())


@pytest.mark.parametrize("name", all_bundles())
def test_monai_itself_builds_every_shipped_network(name: str) -> None:
    from monai.bundle import ConfigParser
    from safetensors.torch import load_file

    folder = model_folder(name)
    parser = ConfigParser()
    parser.read_config(str(folder / INFERENCE))
    parser.read_meta(str(folder / METADATA))
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(load_file(folder / WEIGHTS))
    network.eval()
    ours = load_model(name)
    size = [32] * ours.spec.dims
    x = torch.rand(1, len(ours.spec.channels), *size)
    with torch.no_grad():
        assert torch.equal(network(x), ours.network(x))


@pytest.mark.parametrize("name", all_bundles())
def test_shipped_bundles_are_plain_small_and_carry_a_card(name: str) -> None:
    folder = model_folder(name)
    for config in (folder / "configs").glob("*.json"):
        assert '"$' not in config.read_text(encoding="utf-8").replace('"$schema"', "")
    assert not list(folder.rglob("*.pt"))
    assert "not a medical device" in (folder / "docs/README.md").read_text(encoding="utf-8")
    assert all(file.stat().st_size < 8e6 for file in folder.rglob("*") if file.is_file())
    metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    for key in ("version", "changelog", "monai_version", "pytorch_version", "numpy_version", "task", "description",
                "authors", "copyright", "network_data_format"):  # fmt: skip
        assert metadata[key], key


def test_models_are_shipped() -> None:
    assert {"brain", "chest"} <= set(shipped_models())


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("executed",))


def test_hostile_files_are_refused_and_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = a_bundle(tmp_path / "m")
    (folder / WEIGHTS).unlink()
    torch.save({"model": Evil()}, folder / "models/model.pt")
    with pytest.raises(BadRequest, match="weights do not load"):
        load_bundle(folder)
    (folder / "models/model.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(BadRequest, match="weights do not load"):
        load_bundle(folder)
    assert "executed" not in capsys.readouterr().out


def test_a_plain_state_dict_loads_too(tmp_path: Path) -> None:
    folder = a_bundle(tmp_path / "m")
    ours = load_bundle(folder)
    (folder / WEIGHTS).unlink()
    torch.save(ours.network.state_dict(), folder / "models/model.pt")
    x = torch.rand(1, 1, 8, 8, 8)
    assert torch.equal(load_bundle(folder).logits(x), ours.logits(x))


@pytest.mark.parametrize(("change", "message"), [
    (lambda f: shutil.rmtree(f / "configs"), "not a MONAI bundle"),
    (lambda f: (f / METADATA).write_text("{"), "not readable as JSON"),
    (lambda f: (f / METADATA).write_text("[]"), "JSON object"),
    (lambda f: (f / METADATA).write_text("{}"), "no 'advseg' section"),
    (lambda f: (f / METADATA).write_text('{"advseg": {"dims": 3}}'), "incomplete"),
    (lambda f: (f / INFERENCE).write_text("{}"), "network_def"),
    (lambda f: (f / INFERENCE).write_text('{"network_def": "@x"}'), "mapping|network"),
    (lambda f: (f / INFERENCE).write_text('{"network_def": {"_target_": "os.system"}}'), "allow-list"),
    (lambda f: (f / WEIGHTS).unlink(), "no weights"),
    (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:100]), "weights do not load"),
])  # fmt: skip
def test_a_broken_bundle_is_one_clear_line(tmp_path: Path, change: object, message: str) -> None:
    folder = a_bundle(tmp_path / "m")
    change(folder)  # type: ignore[operator]
    with pytest.raises(BadRequest, match=message) as caught:
        load_bundle(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_unknown_model_names_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_bundle(tmp_path / "spleen")
    monkeypatch.setenv("ADVSEG_MODELS", str(tmp_path))
    with pytest.raises(BadRequest, match="unknown model 'splen'; did you mean 'spleen'"):
        model_folder("splen")
    assert model_folder("spleen") == tmp_path / "spleen"
