"""`advseg reproduce` from cases to page: numbers against a direct calculation, gaps said aloud."""

from __future__ import annotations

import argparse
import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from AdvSegLib.attacks import make_attack
from AdvSegLib.cases.chest_phantom import chest_cases
from AdvSegLib.crafting import craft
from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme, chest_scheme
from AdvSegLib.metrics.overlap import compare
from AdvSegLib.metrics.statistics import wilcoxon_signed_rank
from AdvSegLib.reproduce import command
from AdvSegLib.reproduce.cells import Cell, corrected, summarised
from AdvSegLib.reproduce.charts import _scale, curve
from AdvSegLib.reproduce.claims import judge
from AdvSegLib.reproduce.data import DataSet, data_sets, resized
from AdvSegLib.reproduce.measure import Bench, Unit, fitting, saved_and_read
from AdvSegLib.reproduce.published import Published
from AdvSegLib.reproduce.recipe import Claim, load_paper, read_paper
from AdvSegLib.segmenters.bundle import save_bundle
from AdvSegLib.segmenters.networks import build_network
from AdvSegLib.segmenters.spec import Intensity, Spec
from AdvSegLib.volumes import Grid, Image

SIZE = 48
NETWORK = {
    "_target_": "monai.networks.nets.UNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 6,
    "channels": [4, 8], "strides": [2], "num_res_units": 1,
}  # fmt: skip


def write_model(folder: Path, seed: int, scheme: LabelScheme | None = None, channels: int = 1, dims: int = 2) -> str:
    torch.manual_seed(seed)
    scheme = scheme or chest_scheme()
    definition = {**NETWORK, "spatial_dims": dims, "in_channels": channels, "out_channels": scheme.channels}
    spec = Spec(dims=dims, channels=tuple(f"c{k}" for k in range(channels)), scheme=scheme,
                intensity=Intensity("range", low=-1.0, high=1.0), multiple=2)  # fmt: skip
    folder.mkdir(parents=True)
    card = {"title": "tiny", "description": "tiny", "text": "tiny"}
    save_bundle(folder, build_network(definition), definition, spec, card)
    return str(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("models")
    return {"target": write_model(root / "one", 1), "surrogate": write_model(root / "two", 2)}


@pytest.fixture
def tiny(monkeypatch, models):
    """Paper 003's recipe on three small films and two small networks, two steps."""
    recipe = load_paper("bortsova2020")
    plan = {"source": "phantom-chest", "count": 3, "seed": 11, "size": SIZE}
    recipe = replace(
        recipe,
        data={"chest": {"paper": recipe.data["chest"]["paper"], "phantom": plan, "quick": {}}},
        settings={**recipe.settings, "quick": (two := {"steps": 2, "alpha": None}), "quick-data": two},
    )
    monkeypatch.setattr(command, "load_paper", lambda name: recipe)
    return recipe


@pytest.fixture
def use(monkeypatch):
    """Put another recipe in the place of a paper's."""
    return lambda recipe: monkeypatch.setattr(command, "load_paper", lambda name: recipe)


def run(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers(dest="command"))
    command.reproduce(parser.parse_args(["reproduce", *arguments]))


def cells_of(folder: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    with (folder / "cells.csv").open(encoding="utf-8") as stream:
        return {(row["table"], row["row"], row["column"]): row for row in csv.DictReader(stream)}


def test_cells_are_what_a_direct_calculation_gives(tiny, models, tmp_path):
    out = tmp_path / "out"
    pairs = [part for role, path in models.items() for part in ("--model", f"{role}={path}")]
    run(["bortsova2020", "--quick", "--table", "1", "--workers", "1", "--out", str(out), *pairs])
    from AdvSegLib.segmenters.catalogue import load_model

    segmenter, surrogate = load_model(models["target"]), load_model(models["surrogate"])
    clean, white, black = [], [], []
    for case in chest_cases(3, 11, SIZE):
        image, truth = case.image(), case.truth()
        attack = make_attack("pgd", steps=2, loss="iou")

        def score(picture, truth=truth):
            return 100 * compare(truth.array, segmenter.segment(picture).array, segmenter.scheme)["iou"]["mean"]

        clean.append(score(image))
        white.append(score(craft(segmenter, image, attack, truth=truth, epsilon=0.02).image))
        black.append(score(craft(surrogate, image, attack, truth=truth, epsilon=0.02).image))
    cells = cells_of(out)
    for row, values in (("white-box", white), ("black-box", black)):
        cell = cells["1", row, "0.04"]  # of images in [-1, 1]: 2 % of the range
        assert float(cell["mean"]) == pytest.approx(np.mean(values), abs=1e-9)
        assert float(cell["deviation"]) == pytest.approx(np.std(values, ddof=1), abs=1e-9)
        assert float(cell["difference"]) == pytest.approx(np.mean(values) - float(cell["published_mean"]))
        assert float(cell["p"]) == pytest.approx(wilcoxon_signed_rank(values, clean).p)
        assert int(cell["n"]) == 3
        assert float(cell["low"]) <= float(cell["mean"]) <= float(cell["high"])
    assert float(cells["1", "white-box", "clean"]["mean"]) == pytest.approx(np.mean(clean))
    assert cells["1", "white-box", "clean"]["p"] == ""  # itself is nothing to be tested against
    tests = sum(bool(cell["p"]) for cell in cells.values())
    assert tests == 10
    assert float(cells["1", "white-box", "0.04"]["corrected"]) == pytest.approx(
        min(1.0, tests * float(cells["1", "white-box", "0.04"]["p"]))
    )
    page = (out / "report.html").read_text(encoding="utf-8")
    assert cells["1", "white-box", "0.04"]["published"] in page
    assert "ADVERSARIAL" in page
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert results["papers"][0]["data"] == {"chest": {"cases": 3, "drawn": True}}


def test_a_model_that_is_not_there_is_said_and_nothing_is_made_up(tiny, models, tmp_path, capsys, use):
    out = tmp_path / "out"
    hidden = {**tiny.models, "surrogate": replace(tiny.models["surrogate"], name="no-such-model")}
    use(replace(tiny, models=hidden))
    run(["bortsova2020", "--quick", "--table", "1", "--table", "transfer", "--workers", "1", "--out", str(out),
         "--model", f"target={models['target']}"])  # fmt: skip
    cell = cells_of(out)["1", "black-box", "0.04"]
    assert cell["mean"] == ""
    assert cell["published"] == "74.7"
    assert "no-such-model" in cell["missing"]
    assert "advseg train --recipe chest-surrogate" in cell["missing"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "no-such-model" in page
    assert "not available" in capsys.readouterr().out


def test_figures_traces_and_galleries_come_out(tiny, models, tmp_path, use):
    out = tmp_path / "out"
    two = replace(tiny, tables={"1": tiny.tables["1"]}, figures={k: tiny.figures[k] for k in ("2", "epsilon")})
    use(two)
    pairs = [part for role, path in models.items() for part in ("--model", f"{role}={path}")]
    run(["bortsova2020", "--quick", "--cases", "2", "--workers", "1", "--out", str(out), *pairs])
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") >= 9 + 2  # the noise types and the gallery's two ends
    assert "<svg" in page
    assert "Heart BBox" in page
    assert page.count("<div></div>") == 1  # below the clean image is no noise, and the others stand below their own
    assert "lowest: " in page
    style = page.split("<style>")[1].split("</style>")[0]
    assert ".paper > h2" in style  # not escaped: "&gt;" would void the rule
    assert '"Segoe UI"' in style


def test_a_single_case_is_not_shown_as_worst_and_best(tiny, models, tmp_path, use):
    use(replace(tiny, tables={}, figures={}))
    out = tmp_path / "out"
    run(["bortsova2020", "--quick", "--cases", "1", "--workers", "1", "--out", str(out), "--model",
         f"target={models['target']}"])  # fmt: skip
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 1
    assert "only case: " in page
    assert "lowest: " not in page


@pytest.mark.parametrize(
    ("values", "bottom", "top"), [([0, 0], -0.03, 1.0), ([0, 0.5], -0.0168, 0.56), ([30, 40], 28, 42)]
)
def test_charts_do_not_reach_below_zero(values, bottom, top):
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    found = curve("one", [(step, [value]) for step, value in enumerate(values)])
    axes.plot([0, 1], values)
    axes.margins(y=0.12)
    _scale(axes, [found], steps=True)
    assert axes.get_ylim() == pytest.approx((bottom, top), rel=0.1)
    assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_two_processes_give_the_same_numbers_as_one(tiny, models, tmp_path):
    pairs = [part for role, path in models.items() for part in ("--model", f"{role}={path}")]
    for workers in ("1", "2"):
        run(["bortsova2020", "--quick", "--table", "transfer", "--workers", workers, "--out", str(tmp_path / workers),
             *pairs])  # fmt: skip
    one, two = (cells_of(tmp_path / workers) for workers in ("1", "2"))
    assert {key: cell["mean"] for key, cell in one.items()} == {key: cell["mean"] for key, cell in two.items()}


def bench(models: dict[str, str], cases: int = 3, **changes) -> tuple[Bench, DataSet]:
    data = DataSet("chest", tuple(chest_cases(cases, 11, SIZE)), **changes)
    return Bench(models, {"chest": data}, "cpu", None), data


def test_another_cases_mask_is_the_target(models):
    from AdvSegLib.reproduce.arms import Arm

    made, data = bench(models)
    arm = Arm("target", "pgd", {"steps": 1}, 0.05, target={"kind": "another"})
    record = made.run(Unit("chest", 0, arm))
    other = data.other(0, 0)
    assert other != 0
    assert {data.other(k, 5) == k for k in range(3)} == {False}
    image, truth, goal = data.sample(0).image, data.sample(0).truth, data.sample(other).truth
    fooled = craft(made.model("target"), image, make_attack("pgd", steps=1), truth=truth, target=goal, epsilon=0.05)
    found = compare(goal.array, made.model("target").segment(fooled.image).array, chest_scheme())
    assert record.scores["target.paper_iou"] == pytest.approx(found["paper_iou"])
    alone, _ = bench(models, 1)
    assert "at least two cases" in alone.run(Unit("chest", 0, arm)).error


def test_a_trace_begins_clean_and_ends_with_the_result(models):
    from AdvSegLib.reproduce.arms import Arm

    made, _ = bench(models)
    record = made.run(Unit("chest", 1, Arm("target", "i-fgsm", {"steps": 3}, 0.05, trace=True)))
    assert len(record.trace) == 4
    assert record.trace[0]["image.l2"] == 0.0
    assert record.trace[0]["truth.dice.mean"] == record.scores["clean.dice.mean"]
    assert record.trace[-1]["truth.dice.mean"] == record.scores["truth.dice.mean"]
    assert record.trace[-1]["image.psnr"] == pytest.approx(record.scores["image.psnr"])
    psnr = [step["image.psnr"] for step in record.trace[1:]]
    assert psnr == sorted(psnr, reverse=True)


def test_scores_without_truth_are_against_the_clean_prediction(models):
    from AdvSegLib.reproduce.arms import Arm

    made, data = bench(models)
    blind = replace(data, cases=tuple(replace(case, read_truth=None) for case in data.cases))
    made = Bench(models, {"chest": blind}, "cpu", None)
    record = made.run(Unit("chest", 0, Arm("target")))
    assert record.against_prediction
    assert record.scores["truth.pa"] == 1.0


def test_what_is_judged_was_saved_and_read(models):
    image = chest_cases(1, 0, SIZE)[0].image()
    noisy = image.with_array(image.array + np.float32(0.123456))
    assert np.array_equal(saved_and_read(noisy, image).array, noisy.array)


def test_cells_leave_out_cases_without_a_value():
    cell = summarised(Cell("r", "c", "a", "m", Published("2.0", 2.0)), [1.0, None, 3.0, 5.0], [0.0, 1.0, 2.0, 3.0])
    assert (cell.mean, cell.count, cell.difference) == (3.0, 3, 1.0)
    assert cell.p == wilcoxon_signed_rank([1.0, 3.0, 5.0], [0.0, 2.0, 3.0]).p
    empty = summarised(Cell("r", "c", "a", "m"), [None, None], None)
    assert empty.mean is None
    assert empty.missing
    first, second, untested = corrected([
        replace(cell, row="1", p=0.01), replace(cell, row="2", p=0.6), replace(cell, row="3", p=None)
    ])  # fmt: skip
    assert (first.corrected, second.corrected, untested.corrected) == (0.02, 1.0, None)
    assert (first.significant, second.significant, untested.significant) == (True, False, None)


def some_cells(*means: float | None) -> dict:
    return {
        ("1", str(k), "c"): Cell(str(k), "c", "", "", Published(str(k), float(k)), mean=mean,
                                 values=(mean, mean) if mean is not None else ())
        for k, mean in enumerate(means)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("claim", "means", "word", "in_print"),
    [
        (Claim("", "", order=("1 | 1 | c", "1 | 0 | c")), (0.1, 0.2), "held", 1),
        (Claim("", "", order=("1 | 0 | c", "1 | 1 | c")), (0.1, 0.2), "not held", 0),
        (Claim("", "", order=("1 | 0 | c", "1 | 1 | c")), (0.2, 0.2), "not held", 0),
        (Claim("", "", order=("1 | 2 | c", "1 | 1 | c", "1 | 0 | c")), (0.3, 0.2, 0.4), "held in part", 2),
        (Claim("", "", order=("1 | 1 | c", "1 | 0 | c")), (None, 0.2), "not available", 1),
        (Claim("", "", cell="1 | 0 | c", least=0.5), (0.5,), "held", 0),
        (Claim("", "", cell="1 | 1 | c", most=0.5), (0.0, 0.6), "not held", 0),
        (Claim("", "", near=("1 | 0 | c", "1 | 1 | c"), within=0.2), (0.1, 0.25), "held", 0),
        (Claim("", "", cell="1 | {k} | c", least=0.15, each=({"k": 0}, {"k": 1})), (0.1, 0.2), "held in part", 1),
    ],
)
def test_claims_are_judged_by_their_relations(claim, means, word, in_print):
    verdict = judge(claim, some_cells(*means))
    assert (verdict.word, verdict.in_print) == (word, in_print)


def test_a_correlation_needs_three_points_and_tells_its_size():
    claim = Claim("", "", correlates={"table": "1", "column": "c", "rows": {"0": "a", "1": "b", "2": "d"}}, most=0.3)
    sizes = {"a": 10, "b": 20, "d": 30}
    strong = judge(claim, some_cells(0.1, 0.2, 0.3), sizes)
    assert strong.word == "not held"
    assert "r = 1.00" in strong.seen
    assert judge(claim, some_cells(0.2, 0.1, 0.2), sizes).word == "held"
    assert judge(claim, some_cells(0.2, 0.1, None), sizes).word == "not available"


def test_real_data_are_brought_to_the_size_and_channels_the_paper_worked_at(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        Image.from_array(rng.uniform(0, 255, (1, 30, 40)).astype(np.float32), 0.7, ("film",)).write(
            folder / f"{name}.nii.gz"
        )
    recipe = load_paper("wang2022")
    paper = {**recipe.data["abdomen"], "paper": {"source": "folder", "size": [16, 24], "count": 2}}
    sets = data_sets(replace(recipe, data={"abdomen": paper}), "paper", str(tmp_path))
    assert len(sets["abdomen"]) == 2
    sample = sets["abdomen"].sample(0)
    assert sample.truth is None
    assert sample.image.array.shape == (1, 1, 16, 24)  # a picture kept as one slice stays one
    from AdvSegLib.segmenters.catalogue import load_model

    network = load_model(write_model(tmp_path / "three", 0, LabelScheme.sigmoid("a", "b", "c"), 3))
    three = fitting(sample, network).image
    assert np.array_equal(three.array[0], three.array[2])
    assert len(set(three.names)) == 3
    with pytest.raises(BadRequest, match="2-D"):
        resized(Grid.regular((8, 8), 1.0), (4, 4, 4))


def test_a_resized_grid_covers_the_same_box():
    grid = Grid.regular((10, 20), (2.0, 1.0))
    small = resized(grid, (5, 5))
    assert small.spacing == pytest.approx((4.0, 4.0))
    corner = grid.affine @ np.array([-0.5, -0.5, 1.0])
    assert small.affine @ np.array([-0.5, -0.5, 1.0]) == pytest.approx(corner)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bortsova", "--quick"], "unknown paper"),
        (["bortsova2020", "--table", "9"], "unknown table"),
        (["bortsova2020", "--figure", "1"], "unknown figure"),
        (["bortsova2020", "--table", "1", "--model", "chest"], "ROLE=NAME"),
        (["bortsova2020", "--table", "1", "--model", "victim=chest"], "unknown role"),
        (["bortsova2020", "--table", "1", "--model", "target=no-such-model"], "unknown model"),
        (["bortsova2020", "--table", "1", "--cases", "0"], "--cases"),
        (["bortsova2020", "--table", "1", "--workers", "0"], "--workers"),
        (["bortsova2020", "--data", "no-such-folder"], "no-such-folder"),
        (["ozbulak2019", "--data", "retina=x"], "no data set 'retina'"),
        (["all", "--table", "1"], "of one paper"),
    ],
)
def test_bad_requests_are_one_line_and_write_nothing(arguments, words, tmp_path):
    with pytest.raises(BadRequest, match=re.escape(words)) as caught:
        run([*arguments, "--out", str(tmp_path / "out")])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(BadRequest, match="not empty"):
        run(["bortsova2020", "--quick", "--out", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_a_real_film_runs_through_paper_003s_recipe(real_data, tiny, models, tmp_path, use):
    folder = tmp_path / "data" / "images"
    folder.mkdir(parents=True)
    (folder / "film.png").write_bytes(real_data("chest_xray/00000001_000.png").read_bytes())
    small = {**tiny.data["chest"], "paper": {**tiny.data["chest"]["paper"], "size": [64, 64]}}
    use(replace(tiny, data={"chest": small}))
    out = tmp_path / "out"
    pairs = [part for role, path in models.items() for part in ("--model", f"{role}={path}")]
    run(["bortsova2020", "--quick", "--table", "1", "--figure", "2", "--data", str(tmp_path / "data"), "--source",
         "folder", "--workers", "1", "--out", str(out), *pairs])  # fmt: skip
    cells = cells_of(out)
    assert float(cells["1", "white-box", "clean"]["mean"]) == 100.0  # against its own clean prediction
    assert float(cells["1", "white-box", "0.16"]["mean"]) < 100.0
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "own prediction of the clean image" in page
    assert "own clean prediction: IoU heart 100.0" in page
    assert page.count(": noise") >= 4  # "Attack All" keeps the other structures as predicted
    assert "folder &#39;data&#39; read as folder, brought to 64 x 64" in page
    assert "drawn chest films at 256 x 256" not in page  # the words of a quick run on phantoms


def test_real_photographs_run_through_paper_002s_recipe(real_data, tmp_path, monkeypatch):
    folder = real_data("fundus_ozbulak/G_5_R_1_image.png").parent
    model = write_model(tmp_path / "disc", 4, LabelScheme.softmax("optic disc"), 3)
    recipe = load_paper("ozbulak2019")
    settings = {**recipe.settings, "quick-data": {**recipe.settings["quick-data"], "steps": 1}}
    monkeypatch.setattr(command, "load_paper", lambda name: replace(recipe, settings=settings))
    out = tmp_path / "out"
    run(["ozbulak2019", "--quick", "--table", "1", "--data", f"glaucoma={folder}", "--model", f"disc={model}",
         "--workers", "1", "--out", str(out)])  # fmt: skip
    cells = cells_of(out)
    assert int(cells["1", "SSM", "glaucoma IoU"]["n"]) == 2
    assert "no folder was given" in cells["1", "SSM", "skin IoU"]["missing"]


BRATS = {"t1": "t1", "t1c": "t1ce", "t2": "t2", "fla": "flair", "seg_consensus": "seg"}
"""Names of the real case's files to those of BraTS 2017."""


def test_a_real_brats_case_runs_through_paper_001s_recipe(real_data, tmp_path, use):
    folder = tmp_path / "BraTS" / "fg"
    folder.mkdir(parents=True)
    for name, brats in BRATS.items():
        (folder / f"fg_{brats}.nii.gz").write_bytes(real_data(f"tcga_fg_6692/{name}.nii.gz").read_bytes())
    recipe = load_paper("liu2021")
    small = {**recipe.data["brain"], "paper": {**recipe.data["brain"]["paper"], "size": [24, 24, 24]}}
    use(replace(recipe, data={"brain": small}))
    model = write_model(tmp_path / "undefended", 5, LabelScheme.brats(), 4, dims=3)
    out = tmp_path / "out"
    run(["liu2021", "--quick", "--table", "1", "--table", "clinical", "--data", str(tmp_path / "BraTS"),
         "--model", f"undefended={model}", "--workers", "1", "--out", str(out)])  # fmt: skip
    cells = cells_of(out)
    assert {row["n"] for key, row in cells.items() if key[2] == "whole tumor"} == {"1"}
    clean, attacked = (float(cells["1", row, "whole tumor"]["mean"]) for row in ("No attack", "i-FGSM"))
    assert attacked < clean  # against the consensus labels, which came along
    assert 0.03 < float(cells["1", "FGSM", "RMSE"]["mean"]) <= 0.05  # some voxels are at the edge of the range
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "folder &#39;BraTS&#39; read as brats, brought to 24 x 24 x 24" in page
    assert "own prediction of the clean image" not in page
    assert "drawn heads at 2 mm" not in page  # the words of a quick run on phantoms


def test_reading_plain_data_gives_what_the_file_gives():
    import yaml

    path = Path(command.__file__).parent / "recipes" / "ozbulak2019.yaml"
    assert read_paper(yaml.safe_load(path.read_text(encoding="utf-8"))) == load_paper("ozbulak2019")


def test_a_case_that_cannot_be_read_leaves_a_gap_and_a_word(tiny, models, tmp_path, use, capsys):
    folder = tmp_path / "data" / "images"
    folder.mkdir(parents=True)
    Image.from_array(np.random.default_rng(0).uniform(0, 255, (1, 32, 32)).astype(np.float32)).write(
        folder / "good.png", dtype="uint8"
    )
    (folder / "torn.png").write_bytes((folder / "good.png").read_bytes()[:60])
    plan = {**tiny.data["chest"], "paper": {"source": "folder", "count": 2}}
    use(replace(tiny, data={"chest": plan}))
    pairs = [part for role, path in models.items() for part in ("--model", f"{role}={path}")]
    out = tmp_path / "out"
    run(["bortsova2020", "--quick", "--table", "transfer", "--data", str(tmp_path / "data"), "--cases", "2",
         "--workers", "1", "--out", str(out), *pairs])  # fmt: skip
    assert int(cells_of(out)["transfer", "target", "target"]["n"]) == 1
    assert "torn" in capsys.readouterr().out


def test_clean_predictions_of_one_case_only_are_kept(models):
    from AdvSegLib.reproduce.arms import Arm

    made, data = bench(models)
    for index in range(len(data)):
        for role in models:
            made.run(Unit("chest", index, Arm(role)))
    assert {key[1:] for key in made._clean} == {("chest", 2)}
    assert len(made._clean) == 2
