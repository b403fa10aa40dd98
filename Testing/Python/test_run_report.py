"""The run report: self-contained, escaped, marked, true to its numbers, and hung the right way round."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from itertools import permutations, product
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.image import imread

from AdvSegLib.evaluation import measure
from AdvSegLib.job_request import Job
from AdvSegLib.labels import LabelScheme
from AdvSegLib.metrics.difference import difference_map
from AdvSegLib.reports import run_report
from AdvSegLib.reports.content import RunContent
from AdvSegLib.reports.figures import Gallery
from AdvSegLib.reports.formats import DASH, TIMES, fixed, short
from AdvSegLib.reports.layers import thin
from AdvSegLib.reports.planes import bearings, planes
from AdvSegLib.reports.run_report import MARK, write_run_report
from AdvSegLib.volumes import MARK as HEADER_MARK
from AdvSegLib.volumes import Grid, Image, LabelMap

VOID = {"meta", "link", "img", "br", "hr", "input", "image", "use"}
LOOP, SAVED = "in loop", "on the saved image"


@dataclass
class Page(HTMLParser):
    """A parsed page: open tags, attributes, words, and the cells of each table row."""

    text: str
    open: list[str] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)
        if any(tag in self.open for tag in ("td", "th")):
            self.rows[-1][-1] += data

    @property
    def prose(self) -> str:
        return re.sub(r"[ \n]+", " ", " ".join(self.words))

    @property
    def pictures(self) -> dict[str, str]:
        return {at["id"]: at["href"] for tag, at in self.tags if tag == "image"}

    def line(self, name: str, table: int = 0) -> list[str]:
        return [row[1:] for row in self.rows if row and row[0] == name][table]


def pixels(uri: str) -> np.ndarray:
    return imread(io.BytesIO(base64.b64decode(uri.partition(",")[2])), format="png")


def box(shape: tuple[int, ...], value: int = 1) -> np.ndarray:
    labels = np.zeros(shape, np.int32)
    labels[tuple(slice(n // 4, max(n // 4 + 1, n // 2)) for n in shape)] = value
    return labels


def make(
    scan: Image, scheme: LabelScheme, before: np.ndarray, after: np.ndarray, *, noise: float = 0.03,
    truth: np.ndarray | None = None, target: np.ndarray | None = None, history: list | None = None, **job: object,
) -> RunContent:  # fmt: skip
    """Return the content of a run whose label maps are given, as jobs.py would gather it."""
    spans = scan.ranges.reshape(-1, *[1] * scan.grid.rank)
    dither = np.where(np.indices(scan.grid.shape).sum(0) % 2, 1, -1) * noise * spans
    adversarial = scan.with_array(np.clip(scan.array + dither, scan.array.min(), scan.array.max()), mark=HEADER_MARK)
    maps = {key: None if a is None else LabelMap(a, scan.grid) for key, a in
            (("before", before), ("after", after), ("truth", truth), ("target", target))}  # fmt: skip
    request = Job(**{"model": "/srv/secret/brain-3d", "image": ("/srv/secret/a.nii.gz",), "attack": "pgd", **job})
    crafted = SimpleNamespace(goal=maps["target"], targeted=target is not None, notes=(), region=None, structures=())
    metrics = measure(request, scan, adversarial, maps["before"], maps["after"], maps["truth"], crafted, scheme)
    origin = {
        "key": "a1" * 32, "seed": 3, "device": "cpu", "versions": {"torch": "2.9"},
        "model": {"name": request.model, "weights_sha256": "b2" * 32}, "inputs_sha256": {request.image[0]: "c3" * 32},
        "time": {"finished": "2026-01-02T03:04:05+00:00", "seconds": 1.5},
    }  # fmt: skip
    return RunContent(
        scan, adversarial, maps["before"], maps["after"], difference_map(maps["before"], maps["after"]),
        maps["truth"], maps["target"], scheme, metrics,
        steps() if history is None else history, request.to_dict(), origin,
    )  # fmt: skip


def steps(count: int = 4) -> list[dict]:
    loop = [
        {"step": i, "loss": 0.1 * i, "dice": 1 - i / 5, "psnr": float("inf") if i == 0 else 50 - i, "measured": LOOP}
        for i in range(count)
    ]
    return [*loop, {"step": count, "loss": "", "dice": 0.1, "psnr": 41.0, "measured": SAVED}]


def brain(rng: np.random.Generator, channels: int = 4, shape: tuple[int, ...] = (12, 20, 16)) -> RunContent:
    names = ("t1", "t1c", "t2", "fla")[:channels]
    image = Image.from_array(rng.normal(100, 20, (channels, *shape)).astype(np.float32), (2.0, 1.0, 1.0), names)
    labels = box(shape, 2)
    labels[labels.shape[0] // 4] *= 2
    return make(image, LabelScheme.brats(), labels, np.roll(labels, 2, -1), truth=np.roll(labels, 1, -2))


def page_of(content: RunContent, tmp_path) -> Page:
    path = write_run_report(tmp_path / "report.html", content)
    return Page(path.read_text(encoding="utf-8"))


def test_page_is_whole_and_needs_nothing_outside(rng, tmp_path):
    page = page_of(brain(rng), tmp_path)
    assert page.open == []
    assert page.text.startswith("<!DOCTYPE html>")
    assert not re.search(
        r"https?:|//\w|@import|url\((?!#)|<script|<link", re.sub(r"data:image/png;base64,[\w+/=]+", "", page.text)
    )
    for tag, attributes in page.tags:
        for key in ("src", "href", "xlink:href"):
            assert attributes.get(key, "#").startswith(("data:image/png;base64,", "#")), tag
    ids = [at["id"] for _, at in page.tags if "id" in at]
    assert len(ids) == len(set(ids))
    assert {at["href"][1:] for tag, at in page.tags if tag == "use" and "href" in at} <= set(ids)


def test_mark_is_on_the_page_and_on_every_adversarial_picture(rng, tmp_path):
    page = page_of(brain(rng), tmp_path)
    adversarial = [uri for key, uri in page.pictures.items() if "adversarial" in key]
    assert len(adversarial) == 3 + 3  # one channel on three slices, the other three on the main one
    assert all(HEADER_MARK.encode() in base64.b64decode(uri.partition(",")[2]) for uri in adversarial)
    marks = sum(tag == "span" and at.get("class") == "mark" for tag, at in page.tags)
    assert marks == 3 * 2 + 4
    assert page.prose.count(MARK) == marks + 3  # title, banner, footer


def test_names_from_files_are_escaped_and_folders_stay_private(rng, tmp_path):
    evil = "<script>alert('x')</script>"
    slashless = evil.replace("/", "")
    image = Image.from_array(rng.random((2, 16, 16)), names=(evil, "b&b"))
    content = make(image, LabelScheme.softmax(evil, '"quoted"'), box((16, 16)), box((16, 16)) * 2,
                   image=(f"/srv/secret/{slashless}.png",), model=f"/srv/secret/{slashless}")  # fmt: skip
    content.metrics["warnings"].append(evil)
    page = page_of(content, tmp_path)
    assert "<script" not in page.text
    assert evil in page.prose
    assert "secret" not in page.text
    assert not any(tag == "script" for tag, _ in page.tags)


def test_every_label_channel_and_region_is_listed_with_its_numbers(rng, tmp_path):
    content = brain(rng)
    page = page_of(content, tmp_path)
    metrics = content.metrics
    for name in (*content.scheme.names.values(), "mean"):
        wanted = [fixed(metrics[k][m][name]) for k in ("clean", "adversarial", "agreement") for m in ("dice", "iou")]
        assert page.line("Mean over labels" if name == "mean" else name) == wanted
    for region in content.scheme.regions:
        pairs = product(("clean", "adversarial", "agreement"), ("dice_regions", "iou_regions"))
        wanted = [fixed(metrics[key][measure][region.name]) for key, measure in pairs]
        assert page.line(region.name) == wanted
        assert float(page.line(region.name, 1)[2]) == pytest.approx(
            metrics["volumes_ml"]["adversarial"][region.name], abs=5e-5
        )
    for name, scores in metrics["image"]["channels"].items():
        cells = page.line(name)
        assert cells[0] == f"{scores['psnr']:.1f}\u202fdB"
        assert cells[1] == f"{scores['ssim']:.4f}"
        assert cells[4] == short(scores["linf"], trim=False)
        assert page.line(f"Source units, {name}")[1] == short(scores["linf"])
    assert (
        f"from {fixed(metrics['clean']['dice']['mean'], 2)} to {fixed(metrics['adversarial']['dice']['mean'], 2)}"
        in page.prose
    )


def test_absent_labels_are_dashes(rng, tmp_path):
    page = page_of(brain(rng), tmp_path)
    assert page.line("necrotic core") == [DASH] * 6
    assert page.line("necrotic core", 1)[-1] == DASH
    assert "left out of the mean" in page.prose


def test_targeted_run_tells_its_target_before_and_after(rng, tmp_path):
    image = Image.from_array(rng.random((1, 24, 24)))
    labels = box((24, 24))
    content = make(image, LabelScheme.binary("disc"), labels, np.roll(labels, 4, 0), target=np.roll(labels, 5, 0))
    page = page_of(content, tmp_path)
    before, after = (content.metrics[key]["dice"]["mean"] for key in ("target_before", "target"))
    assert f"moved the agreement with its target from {before:.2f} to {after:.2f}" in page.prose
    assert page.line("disc")[2:] == [
        fixed(content.metrics[k][m]["disc"]) for k in ("target_before", "target") for m in ("dice", "iou")
    ]
    assert "image-target" in page.pictures
    assert page.line("disc", 1) == ["36", "36", "0\u202f%"]  # pixels, not ml of a picture


def test_without_truth_the_headline_is_agreement(rng, tmp_path):
    image = Image.from_array(rng.random((1, 24, 24)))
    content = make(image, LabelScheme.binary("disc"), box((24, 24)), np.roll(box((24, 24)), 3, 0))
    page = page_of(content, tmp_path)
    agreement = content.metrics["agreement"]["dice"]["mean"]
    assert f"PGD at 5\u202f% of range: agreement with the clean prediction {agreement:.2f}" in page.prose
    assert "away from the clean prediction" in page.prose


def turned(order: tuple[int, ...], signs: tuple[int, ...], shape: tuple[int, ...], tilt: float = 0.0) -> Grid:
    """Return a grid whose array axis ``a`` runs along patient axis ``order[a]``, in direction ``signs[a]``."""
    c, s = np.cos(tilt), np.sin(tilt)
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    affine = np.eye(4)
    for axis, (patient, sign) in enumerate(zip(order, signs, strict=True)):
        affine[:3, axis] = rotation[:, patient] * sign * (1.0, 2.0, 3.0)[axis]
    affine[:3, 3] = (7.0, -40.0, 12.0)
    return Grid(shape, affine)


@pytest.mark.parametrize("tilt", [0.0, 0.35])
def test_slices_are_hung_radiologically_whatever_the_axes(tilt):
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        grid = turned(order, signs, (5, 6, 7), tilt)
        place = np.einsum("ab,b...->a...", grid.affine, np.stack([*np.indices(grid.shape), np.ones(grid.shape)]))
        axial, coronal, sagittal = planes(grid, tuple(np.zeros(n) for n in grid.shape))
        left, posterior, superior = place[:3]
        for plane, down, across in (
            (axial, posterior, left),
            (coronal, -superior, left),
            (sagittal, -superior, posterior),
        ):
            assert (np.diff(plane.cut(down), axis=0) > 0).all(), (plane.name, order, signs)
            assert (np.diff(plane.cut(across), axis=1) > 0).all(), (plane.name, order, signs)
            rows, columns = plane.cut(left).shape
            assert plane.height / rows == pytest.approx(grid.spacing[plane.order[0]])
            assert plane.width / columns == pytest.approx(grid.spacing[plane.order[1]])
        assert bearings(grid).axes == tuple(order.index(p) for p in range(3))
    assert axial.letters == ("R", "L", "A", "P")
    assert sagittal.letters == ("A", "P", "S", "I")


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1)])
def test_pictures_show_the_right_anterior_superior_corner_top_left(order, signs, tmp_path):
    grid = turned(order, signs, (12, 16, 20), 0.05)
    place = np.einsum("ab,b...->a...", grid.affine, np.stack([*np.indices(grid.shape), np.ones(grid.shape)]))[:3]
    middle = place.reshape(3, -1).mean(1).reshape(3, 1, 1, 1)
    corner = (place[0] < middle[0]) & (place[1] < middle[1]) & (place[2] > middle[2])
    labels = corner.astype(np.int32)
    content = make(Image(corner[None] * 100.0, grid, ("mr",)), LabelScheme.binary("corner"), labels, labels)
    page = page_of(content, tmp_path)
    for name in ("axial", "coronal", "sagittal"):
        for key in (f"{name}-clean-0", f"{name}-segmented"):
            shown = pixels(page.pictures[key])
            bright = shown[..., 3] if shown.ndim == 3 else shown
            half = [n // 2 for n in bright.shape]
            quarters = [
                bright[a, b].mean()
                for a in (np.s_[: half[0]], np.s_[half[0] :])
                for b in (np.s_[: half[1]], np.s_[half[1] :])
            ]
            assert quarters[0] > 2 * max(quarters[1:]), (name, key, quarters)
    boxes = {at["viewbox"] for tag, at in page.tags if tag == "svg" and "aria-label" in at}
    size = {patient: grid.shape[a] * grid.spacing[a] for a, patient in enumerate(order)}
    assert boxes == {f"0 0 {size[a]:g} {size[b]:g}" for a, b in ((0, 1), (0, 2), (1, 2))}


def test_clean_pixels_noise_and_difference_are_what_the_arrays_hold(tmp_path):
    array = np.linspace(0, 200, 8 * 10, dtype=np.float32).reshape(1, 8, 10)
    before, after = np.zeros((2, 8, 10), np.int32)
    before[0, 0], after[0, 1] = 1, 1
    content = make(Image.from_array(array), LabelScheme.binary("dot"), before, after)
    noise = np.zeros((8, 10), np.float32)
    noise[2, 3], noise[4, 5] = 10, -5
    content = replace(content, adversarial=content.clean.with_array(array + noise, mark=HEADER_MARK))
    page = page_of(content, tmp_path)
    grey = pixels(page.pictures["image-clean-0"])
    low, high = np.percentile(array, (1, 99.5))
    np.testing.assert_allclose(grey, np.clip((array[0] - low) / (high - low), 0, 1), atol=0.003)
    seen = pixels(page.pictures["image-noise-0"])[..., :3]
    assert (seen.sum(-1) > 0.3).sum() == 2
    assert seen[2, 3, 0] > seen[2, 3, 2]
    assert seen[4, 5, 2] > seen[4, 5, 0]
    lost = pixels(page.pictures["image-difference"])
    assert lost[1, 1, 2] > lost[1, 1, 0]  # blue
    assert lost[1, -1, 3] == 0
    assert f"Noise {TIMES} 20" in page.prose
    assert "+10 (+5\u202f%)" in page.prose


def test_the_slice_shown_is_the_one_that_changed(rng):
    content = brain(rng)
    changed = np.zeros_like(content.difference.array)
    changed[9, 17, 3] = 1
    empty = LabelMap(np.zeros_like(changed), content.clean.grid)
    content = replace(content, difference=LabelMap(changed, content.clean.grid), truth=None,
                      clean_labels=empty, adversarial_labels=empty)  # fmt: skip
    assert [plane.index for plane in Gallery(content, 512).planes] == [9, 17, 3]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(20, 24), (1, 20, 24), (20, 1, 24), (20, 24, 1), (6, 7, 8), (1, 1, 9)])
def test_any_number_of_channels_and_slices(channels, shape, rng, tmp_path):
    image = Image.from_array(rng.random((channels, *shape)))
    page = page_of(make(image, LabelScheme.softmax("a", "b"), box(shape), box(shape, 2)), tmp_path)
    assert all(name in page.prose for name in (image.names if channels > 1 else ()))
    slices = 1 if len(shape) == 2 else shape.count(1) or 3
    assert sum(key.endswith("-segmented") for key in page.pictures) == slices


def test_colour_photographs_are_shown_in_colour(tmp_path):
    array = np.zeros((3, 12, 14), np.float32)
    array[0, :6], array[1, 6:], array[2] = 250, 250, 30
    image = Image.from_array(array, names=("red", "green", "blue"))
    page = page_of(make(image, LabelScheme.binary("lesion"), box((12, 14)), box((12, 14))), tmp_path)
    shown = pixels(page.pictures["image-clean-0-1-2"])
    np.testing.assert_allclose(shown[..., :3], np.moveaxis(array, 0, -1) / 255, atol=1e-3)


def test_constant_channel_empty_maps_and_no_budget(tmp_path):
    image = Image.from_array(np.stack([np.full((6, 8, 8), 3.0), np.zeros((6, 8, 8))]), names=("flat", "zero"))
    nothing = np.zeros((6, 8, 8), np.int32)
    row = {"step": 0, "loss": "", "dice": None, "psnr": None, "linf": None, "l2": None, "measured": SAVED}
    content = make(image, LabelScheme.sigmoid("a", "b"), nothing, nothing, history=[row], epsilon=0.0, attack="fgsm")
    page = page_of(content, tmp_path)
    assert "FGSM at 0\u202f% of range: the model finds nothing, before or after" in page.prose
    assert page.line("a") == [DASH, DASH]
    assert "epsilon is 0" in page.prose
    assert "no steps that could be drawn" in page.prose
    assert "nan" not in page.prose.lower()


@pytest.mark.parametrize(
    "rows", [[], steps(1), steps(4), [{"step": "0", "dice": "", "psnr": "inf", "measured": LOOP}]]
)
def test_history_of_any_kind(rows, rng, tmp_path):
    page = page_of(replace(brain(rng, 1), history=rows), tmp_path)
    drawn = [at["aria-label"] for tag, at in page.tags if tag == "div" and "aria-label" in at]
    assert len(drawn) == (2 if len(rows) > 1 else 0)
    assert all("on the saved image" in words for words in drawn)


def test_saved_row_is_drawn_apart_from_the_loop(rng, tmp_path):
    page = page_of(brain(rng), tmp_path)
    svg = page.text[page.text.index('class="chart"') :]
    assert "var(--clean)" in svg
    assert "var(--adversarial)" in svg
    assert not re.search("#0[1-6]0[1-6]0[1-6]", page.text)  # every stand-in colour was replaced


def test_l2_budget_and_unknown_labels(rng, tmp_path):
    image = Image.from_array(rng.random((1, 16, 16)))
    before, after = box((16, 16)), box((16, 16), 7)
    content = make(image, LabelScheme.binary("disc"), before, after, norm="l2", epsilon=3.0)
    page = page_of(content, tmp_path)
    assert "at an L2 budget of 3 of range" in page.prose
    assert "not in the scheme (7)" in page.prose
    asked, used = page.line("L2 of the change, each channel divided by its range")
    assert asked == "3"
    assert float(used) == pytest.approx(content.metrics["image"]["l2_of_range"], rel=1e-3)


def test_hashes_are_short_with_the_whole_on_pointing(rng, tmp_path):
    page = page_of(brain(rng), tmp_path)
    titles = {at.get("title") for tag, at in page.tags if tag == "code"}
    assert titles == {"a1" * 32, "b2" * 32, "c3" * 32}
    assert "b2" * 32 not in page.prose
    assert "2 January 2026, 03:04 UTC" in page.prose


def test_pages_stay_small(rng, tmp_path, monkeypatch):
    image = Image.from_array(rng.random((1, 300, 260)))
    content = make(image, LabelScheme.binary("disc"), box((300, 260)), box((300, 260)))
    whole = len(page_of(content, tmp_path).text)
    monkeypatch.setattr(run_report, "PAGE_BYTES", whole // 2)
    page = page_of(content, tmp_path)
    assert len(page.text) <= whole // 2
    assert "pixels are joined into one" in page.prose


def test_joining_pixels_keeps_the_largest_noise(rng):
    noise = np.zeros((9, 10))
    noise[4, 7], noise[8, 9] = -3, 2
    joined = thin(noise, 5, "peak")
    assert joined.shape == (5, 5)
    assert sorted(joined[joined != 0]) == [-3, 2]
    assert thin(np.ones((9, 10)), 5).mean() == pytest.approx(1)
    assert thin(noise, 10) is noise
