"""Models on disk as MONAI bundles: configuration read by an allow-list, weights as safetensors, a card beside them."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AdvSegLib.errors import AdvSegError, BadRequest
from AdvSegLib.segmenters.spec import Spec

if TYPE_CHECKING:
    from torch import nn

    from AdvSegLib.segmenters.segmenter import Segmenter

METADATA = Path("configs/metadata.json")
INFERENCE = Path("configs/inference.json")
WEIGHTS = Path("models/model.safetensors")
TORCH_WEIGHTS = Path("models/model.pt")
CARD = Path("docs/README.md")


def load_bundle(folder: Path, device: str = "cpu") -> Segmenter:
    """Load a bundle as a segmenter.

    ``configs/inference.json`` names the network (``network_def``, plain values only), ``configs/metadata.json`` holds
    our ``advseg`` spec, ``models`` the weights (safetensors, else a state dict read with ``weights_only``). Raises
    BadRequest, naming file and cause, for anything else. An ``ensemble`` in place of the network names other bundles.
    """
    from AdvSegLib.segmenters.networks import build_network
    from AdvSegLib.segmenters.segmenter import Segmenter

    metadata = read_metadata(folder)
    inference = _json(folder / INFERENCE)
    if not isinstance(metadata.get("advseg"), dict):
        raise BadRequest(
            f"{folder / METADATA}: no 'advseg' section, so nothing says how the model's input is prepared"
        )
    if "ensemble" in inference:
        from AdvSegLib.segmenters.ensemble import load_ensemble

        return load_ensemble(folder, inference["ensemble"], device)
    if "network_def" not in inference:
        raise BadRequest(f"{folder / INFERENCE}: no 'network_def'")
    try:
        spec = Spec.from_dict(metadata["advseg"])
        network = build_network(inference["network_def"])
    except BadRequest as error:
        raise BadRequest(f"{folder}: {error}") from error
    _load_weights(network, folder)
    return Segmenter(network.to(device), spec)


def save_bundle(
    folder: Path, network: nn.Module, network_def: Mapping[str, Any], spec: Spec, card: Mapping[str, Any],
    *, half: bool = False,
) -> None:  # fmt: skip
    """Write a bundle; ``card`` gives ``title``, ``description``, ``text`` (markdown) and any JSON results to keep.

    Weights are stored as they are, or with ``half`` as float16, buffers (batch norm's statistics) as they are. The
    files are written in place: give a folder of your own.
    """
    import torch
    from safetensors.torch import save_file

    from AdvSegLib import __version__

    for part in ("configs", "models", "docs"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    metadata = {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json",
        "version": __version__,
        "changelog": {__version__: "trained by advseg train"},
        "monai_version": _version("monai"),
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": _version("numpy"),
        "required_packages_version": {"safetensors": _version("safetensors")},
        "name": str(card["title"]),
        "task": "segmentation",
        "description": str(card["description"]),
        "authors": "AdvSegRobustness contributors",
        "copyright": "Copyright AdvSegRobustness contributors, Apache-2.0",
        "network_data_format": _data_format(spec),
        "advseg": spec.to_dict(),
        "results": dict(card.get("results", {})),
    }
    write_json(folder / METADATA, metadata)
    write_json(folder / INFERENCE, {"network_def": dict(network_def)})
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    if half:
        state.update({key: state[key].half() for key, _ in network.named_parameters()})
    save_file(state, folder / WEIGHTS)
    (folder / CARD).write_text(str(card["text"]), encoding="utf-8")


def round_to_half(network: nn.Module) -> None:
    """Round a network's weights to float16's numbers, in their own type; AdvSegError where one is too large."""
    for name, weight in network.named_parameters():
        rounded = weight.detach().half()
        if not bool(rounded.isfinite().all()):
            raise AdvSegError(f"weights of {name} are beyond float16 (65504); store them as float32")
        weight.data.copy_(rounded)


def read_metadata(folder: Path) -> dict[str, Any]:
    """Return a bundle's metadata without loading its network; BadRequest where the folder is no bundle."""
    if not (folder / METADATA).is_file() or not (folder / INFERENCE).is_file():
        raise BadRequest(f"{folder}: not a MONAI bundle (needs {METADATA} and {INFERENCE})")
    return _json(folder / METADATA)


def weights_file(folder: Path) -> Path:
    """Return where a bundle keeps its weights; BadRequest where it has none."""
    for name in (WEIGHTS, TORCH_WEIGHTS):
        if (folder / name).is_file():
            return folder / name
    raise BadRequest(f"{folder}: no weights (needs {WEIGHTS} or {TORCH_WEIGHTS})")


def weights_hash(network: nn.Module) -> str:
    """Return the SHA-256 of a network's weights, names, types and shapes included: the same from any file format."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        array = value.detach().cpu().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write JSON as this project does: indented, UTF-8, never NaN."""
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _load_weights(network: nn.Module, folder: Path) -> None:
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = weights_file(folder)
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                state = torch.load(path, map_location="cpu", weights_only=True)
            state = state.get("model", state) if isinstance(state, dict) else state
        network.load_state_dict(state)
    except pickle.UnpicklingError as error:
        raise BadRequest(f"{path}: weights do not load (the file holds more than tensors, or is damaged)") from error
    except (SafetensorError, RuntimeError, TypeError, ValueError, EOFError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadRequest(f"{path}: weights do not load ({reason})") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadRequest(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(data, dict):
        raise BadRequest(f"{path}: a JSON object is needed")
    return data


def _data_format(spec: Spec) -> dict[str, Any]:
    """Return MONAI's description of input and output."""
    common = {"spatial_shape": [f"{spec.multiple} * n"] * spec.dims, "dtype": "float32", "is_patch_data": False}
    background = {"0": "background"} if spec.scheme.activation == "softmax" else {}
    named = {str(len(background) + index): label.name for index, label in enumerate(spec.scheme.labels)}
    return {
        "inputs": {
            "image": {
                **common,
                "type": "image",
                "format": "magnitude",
                "num_channels": len(spec.channels),
                "value_range": [],
                "channel_def": {str(index): name for index, name in enumerate(spec.channels)},
            }
        },
        "outputs": {
            "pred": {
                **common,
                "type": "image",
                "format": "segmentation",
                "num_channels": spec.scheme.channels,
                "value_range": [0, 1],
                "channel_def": {**background, **named},
            }
        },
    }


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError as error:
        raise AdvSegError(f"{package} is not installed") from error
