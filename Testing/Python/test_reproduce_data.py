"""The papers' numbers and recipes as data: true to the print, complete, and nothing in them that cannot run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from AdvSegLib.attacks import ATTACKS, make_attack
from AdvSegLib.attacks.wang2022 import Wang2022FGSM
from AdvSegLib.errors import BadRequest
from AdvSegLib.regions import make_region
from AdvSegLib.reproduce.arms import Arm, fill
from AdvSegLib.reproduce.claims import cells_of, judge
from AdvSegLib.reproduce.data import data_sets
from AdvSegLib.reproduce.published import parse_cell, published
from AdvSegLib.reproduce.recipe import SCALES, load_paper, read_paper, recipe_names
from AdvSegLib.reproduce.results import asked_for, baseline, figure_lines, places, table_cells, units_for
from AdvSegLib.target_maps import make_target_map
from AdvSegLib.training.recipe import shipped_recipes

ROOT = Path(__file__).resolve().parents[2]
PAPERS = ROOT.parent / "shared" / "papers"
TEXTS = {"liu2021": "001", "ozbulak2019": "002", "bortsova2020": "003", "wang2022": "000"}
VICTIMS = ROOT / "AdvSegLib" / "reproduce" / "victims"


@pytest.fixture(autouse=True)
def the_attack_of_paper_000(monkeypatch):
    monkeypatch.setitem(ATTACKS, "wang2022", Wang2022FGSM)


@pytest.fixture
def text_of():
    def read(paper: str) -> str:
        found = sorted(PAPERS.glob(f"{TEXTS[paper]}_*.txt"))
        if not found:
            pytest.skip("the papers' texts are absent: ../shared/papers, seen from the project's root")
        raw = found[0].read_text(encoding="utf-8")
        raw = raw.replace("\u2009", " ").replace("\\pm", "±").replace("$", "").replace("\\%", "%").replace("**", "")
        return re.sub(r"[ \t]+", " ", raw)

    return read


def printed_texts(paper: str, table: str) -> dict[str, list[str]]:
    import yaml

    path = ROOT / "AdvSegLib" / "reproduce" / "values" / f"{paper}.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))["tables"][table]["rows"]


@pytest.mark.parametrize(("paper", "table"), [("liu2021", "1"), ("liu2021", "2"), ("liu2021", "3")])
def test_liu_rows_stand_in_the_paper_word_for_word(paper, table, text_of):
    text = text_of(paper)
    caption = {"1": "Attack type Dice coef", "2": "Results of different 3D-UNet", "3": "Results of different 2D-UNet"}
    start = text.index(caption[table])
    body = text[start : start + 6000]
    place = 0
    for row, cells in printed_texts(paper, table).items():
        name = row.split(" / ")[-1].replace("Adversarial training ", "Adversarial training—")
        wanted = f"{name} {' '.join(cells)}"
        assert wanted in body, wanted
        assert body.index(wanted, place) >= place  # the same words stand in two regions: rows come in their order
        place = body.index(wanted, place) + 1


@pytest.mark.parametrize("table", ["1", "2", "3", "4"])
def test_bortsova_rows_stand_in_the_paper(table, text_of):
    text = text_of("bortsova2020").replace("\t", " ")
    rows = printed_texts("bortsova2020", table)
    place = text.index(f"Table {table}. ")
    for row, cells in rows.items():
        numbers = cells[1:] if table == "1" else cells  # the caption gives Table 1's clean column
        name = row.split(" / ")[-1]
        wanted = f"{name} {' '.join(numbers)}"
        assert wanted in text[place:], wanted
        place = text.index(wanted, place) + 1


def test_ozbulak_cells_stand_in_the_paper(text_of):
    text = text_of("ozbulak2019")
    lines = [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]
    start = next(index for index, line in enumerate(lines) if line.startswith("SSM 4.60"))
    for index, (row, cells) in enumerate(printed_texts("ozbulak2019", "1").items()):
        means, deviations = lines[start + 2 * index], lines[start + 2 * index + 1]
        parts = [cell.split(" ± ") for cell in cells]
        assert means == f"{'ASM + DPM' if 'DPM' in row else row} {' '.join(mean for mean, _ in parts)}"
        found = re.sub(r"±|\(ASMA\)", " ", deviations).split()
        assert found == [deviation for _, deviation in parts]


@pytest.mark.parametrize("paper", list(TEXTS))
def test_statements_are_quotations(paper, text_of):
    text = re.sub(r"\s+", " ", text_of(paper))
    for statement in published(paper).statements:
        wanted = re.sub(r"\s+", " ", statement["text"].replace("$", "").replace("\\%", "%"))
        assert wanted in text, wanted


def test_paper_000_has_no_cells():
    assert published("wang2022").tables == {}
    assert "not available" in load_paper("wang2022").not_available


def test_cells_that_cannot_be_read_are_refused():
    with pytest.raises(BadRequest, match="cannot be read"):
        parse_cell("about 3")
    with pytest.raises(BadRequest, match="liu2021"):
        published("liu2020")


@pytest.mark.parametrize("paper", recipe_names())
def test_every_printed_row_and_column_has_its_place(paper):
    recipe = load_paper(paper)
    for number, table in published(paper).tables.items():
        spec = recipe.tables[number]
        assert set(table.rows) <= {row.key for row in spec.rows}
        assert set(table.columns) <= {column.key for column in spec.columns} | set(spec.p_columns.values())


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("paper", recipe_names())
def test_every_arm_can_be_made(paper, scale):
    recipe = load_paper(paper)
    arms: dict[str, Arm] = {}
    for spec in recipe.tables.values():
        for row in spec.rows:
            for column in spec.columns:
                for place in (places(recipe, scale, spec, row, column), baseline(recipe, scale, spec, row, column)):
                    if place is not None:
                        arms[place.arm.key] = place.arm
                        assert place.data in recipe.data
    for figure in recipe.figures.values():
        for line in figure_lines(recipe, scale, figure):
            place = places(recipe, scale, figure, *line)
            arms[place.arm.key] = place.arm
    for arm in arms.values():
        assert set(arm.models) <= set(recipe.models)
        if arm.attack:
            make_attack(arm.attack, **arm.parameters)
        for part, make in ((arm.target, make_target_map), (arm.region, make_region)):
            if part is not None and part["kind"] != "another":
                make(part["kind"], **{key: value for key, value in part.items() if key != "kind"})
    assert len(arms) > 3


@pytest.mark.parametrize("paper", recipe_names())
def test_every_claim_speaks_of_cells_that_are_there(paper):
    recipe = load_paper(paper)
    known = {
        (name, row.key, column.key)
        for name, spec in recipe.tables.items()
        for row in spec.rows
        for column in spec.columns
    }
    for claim in recipe.claims:
        for values in claim.each:
            assert set(cells_of(claim, values)) <= known
        if claim.correlates:
            table, column = claim.correlates["table"], claim.correlates["column"]
            assert {(table, row, column) for row in claim.correlates["rows"]} <= known


@pytest.mark.parametrize("paper", recipe_names())
def test_the_page_can_say_how_to_train_what_is_missing(paper):
    from AdvSegLib.training.recipe import load_recipe

    available = {*shipped_recipes(), *(path.stem for path in VICTIMS.glob("*.yaml"))}
    for role in load_paper(paper).models.values():
        name = re.search(r"--recipe (\S+)", role.train)
        assert name is not None
        assert name[1] == role.name
        assert name[1] in available or name[1].startswith("brain-2d"), name[1]
    for path in VICTIMS.glob("*.yaml"):
        assert load_recipe(path).name == path.stem


def test_drawn_cases_are_none_that_a_victim_was_trained_on():
    from AdvSegLib.training.recipe import load_recipe

    seen = [load_recipe(path).data for path in VICTIMS.glob("*.yaml")]
    for paper in recipe_names():
        for settings in load_paper(paper).data.values():
            plan = settings["phantom"]
            if plan["source"] == "phantom-brain":
                continue  # its seeds are hashed
            drawn = range(plan["seed"], plan["seed"] + plan["count"])
            for data in seen:
                for low, count in ((data.train_seed, data.train_cases), (data.validation_seed, data.validation_cases)):
                    assert not set(drawn) & set(range(low, low + count))


def print_only(paper: str) -> list:
    """Verdicts on a paper's claims where nothing was run."""
    recipe, printed = load_paper(paper), published(paper)
    cells = {}
    for name in recipe.tables:
        for cell in table_cells(recipe, printed, "quick", name, [], {}, {}):
            cells[name, cell.row, cell.column] = cell
            assert cell.mean is None
            assert cell.missing
    return [judge(claim, cells) for claim in recipe.claims]


def test_claims_hold_in_print_but_where_the_papers_contradict_themselves():
    for paper in ("bortsova2020", "ozbulak2019", "liu2021"):
        for verdict in print_only(paper):
            assert verdict.word == "not available"
            assert verdict.printed > 0, verdict.text
    broken = {v.text: (v.in_print, v.printed) for v in print_only("liu2021") if v.in_print < v.printed}
    assert broken["Tables 1 and 2 have the same undefended network without attack (within 0.01)."] == (0, 1)
    assert "Robustness increases with the temperature." in broken
    assert all(v.in_print == v.printed for v in print_only("ozbulak2019"))
    assert all(v.in_print == v.printed for v in print_only("bortsova2020") if "resized better" not in v.text)


def test_units_are_wanted_once_however_many_cells_share_them():
    recipe = load_paper("bortsova2020")
    sets = data_sets(recipe, "quick")
    units = units_for(recipe, "quick", asked_for(recipe, (), ()), sets, {})
    assert len({(unit.data, unit.index, unit.arm.key) for unit in units}) == len(units)
    without = units_for(recipe, "quick", asked_for(recipe, (), ()), sets, {"surrogate": "not here"})
    assert {unit.arm.crafted_on for unit in without if not unit.arm.clean} <= {None, "target"}
    assert len(without) < len(units)


def test_recipes_refuse_what_they_do_not_know():
    import yaml

    path = ROOT / "AdvSegLib" / "reproduce" / "recipes" / "bortsova2020.yaml"
    good = yaml.safe_load(path.read_text(encoding="utf-8"))
    with pytest.raises(BadRequest, match="field of recipe"):
        read_paper({**good, "colour": 1})
    with pytest.raises(BadRequest, match="scale 'quick'"):
        read_paper({**good, "scaled": {"paper": "x", "phantom": "y"}})
    with pytest.raises(BadRequest, match="metrik"):
        read_paper({**good, "tables": {"1": {**good["tables"]["1"], "metrik": "x"}}})
    with pytest.raises(BadRequest, match="unknown paper"):
        load_paper("bortsova")


def test_templates_keep_types_and_drop_what_is_none():
    arm = Arm.from_template({"model": "{m}", "epsilon": "{e}", "range": 2.0}, {"m": "a", "e": 0.04})
    assert arm.fraction == pytest.approx(0.02)
    with pytest.raises(BadRequest, match="value of a recipe"):
        fill("{absent}", {"present": 1})
    with pytest.raises(BadRequest, match="arm field"):
        Arm.from_template({"modell": "a"}, {})


def test_arms_that_do_the_same_have_the_same_key():
    assert Arm("a", "pgd", {"steps": 3}, 0.1).key == Arm("a", "pgd", {"steps": 3}, 0.1, crafted_on="a").key
    assert Arm("a", "pgd", {"steps": 3}, 0.1).key != Arm("a", "pgd", {"steps": 3}, 0.1, crafted_on="b").key
    assert Arm("a").key == Arm("a", "pgd", epsilon=0.0, crafted_on="b").key
    assert Arm("a", "pgd", epsilon=0.0, crafted_on="b").models == ("a",)
