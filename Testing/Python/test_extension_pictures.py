"""The slice views of a result, drawn by Slicer's own displayable managers: each shows what it is for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer")

import slice_pictures
from panel_standins.install import installed
from PIL import Image
from slicer_fixtures import HeadlessSlicer

ROOT = Path(__file__).resolve().parents[2]
MARK_COLOR = (255, 115, 26)
QUICK = slice_pictures.Example(
    "quick", "phantom-chest", "chest", 3, ("--attack", "fgsm", "--epsilon", "0.05"), slice_pictures.Look(side=300)
)


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, np.ndarray]]:
    """The four pictures of a real, quick attack, through the scene layer."""
    folder = tmp_path_factory.mktemp("pictures")
    slicerAlone = HeadlessSlicer(folder)
    with installed(slicerAlone, mainWindow=False):
        result = slice_pictures.addExample(slicerAlone, QUICK, folder)
        pictures = slice_pictures.fourViews(slicerAlone.scene, slicerAlone.application, result, QUICK.look)
    yield {name: picture.astype(int) for name, picture in pictures.items()}
    slicerAlone.close()


def grey(picture: np.ndarray) -> np.ndarray:
    """Where a picture has no colour: image, and nothing over it."""
    return np.ptp(picture, axis=2) <= 2


def coloured(picture: np.ndarray) -> float:
    return float((~grey(picture)).mean())


def test_the_pictures_are_four_different_ones_of_one_size(four: dict[str, np.ndarray]) -> None:
    assert {picture.shape for picture in four.values()} == {(300, 300, 3)}
    names = list(four)
    for index, name in enumerate(names):
        for other in names[index + 1 :]:
            assert np.abs(four[name] - four[other]).mean() > 1, (name, other)


def test_clean_and_adversarial_are_seen_under_one_window(four: dict[str, np.ndarray]) -> None:
    bare = grey(four["clean"]) & grey(four["adversarial"])
    assert bare.mean() > 0.3
    difference = np.abs(four["clean"] - four["adversarial"])[bare]
    assert difference.max() > 0
    assert difference.mean() < 20  # 5 % of the range, a little more under the window


def test_the_segmentation_of_the_adversarial_image_is_another(four: dict[str, np.ndarray]) -> None:
    assert coloured(four["clean"]) > 0.1
    assert (grey(four["clean"]) != grey(four["adversarial"])).mean() > 0.01


def test_only_views_of_adversarial_intensities_bear_the_mark(four: dict[str, np.ndarray]) -> None:
    marked = {name: int((np.abs(picture - MARK_COLOR).sum(axis=2) < 12)[:60].sum()) for name, picture in four.items()}
    assert marked["adversarial"] > 100
    assert marked["noise"] > 100
    assert marked["clean"] == marked["difference"] == 0


def test_noise_covers_more_than_what_changed_by_it(four: dict[str, np.ndarray]) -> None:
    assert coloured(four["noise"]) > 0.5
    assert 0.005 < coloured(four["difference"]) < coloured(four["noise"])


def test_the_noise_has_a_legend(four: dict[str, np.ndarray]) -> None:
    """White letters at the right; nothing else in that view is as bright but the background itself."""
    right = np.s_[60:280, 200:]
    letters = (four["noise"][right] > 240).all(axis=2) & ~(four["clean"][right] > 225).all(axis=2)
    assert letters.sum() > 100


@pytest.mark.parametrize("example", slice_pictures.EXAMPLES, ids=lambda example: example.name)
def test_the_pictures_of_the_documentation_are_there_and_small(example: slice_pictures.Example) -> None:
    path = ROOT / "Resources" / "Screenshots" / f"{example.name}.png"
    assert path.stat().st_size <= slice_pictures.LARGEST
    with Image.open(path) as picture:
        assert picture.size == (2 * example.look.side + slice_pictures.GAP,) * 2


def test_a_picture_that_is_too_large_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (700, 700, 3), np.uint8)
    with pytest.raises(ValueError, match="draw it smaller"):
        slice_pictures.savePicture(Image.fromarray(noise), tmp_path / "noise.png")
