"""Generated widgets, small parts of the panel, and the strictness of the stand-ins they are tested on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from panel_standins import pythonqt
from panel_standins.install import Desk, moduleNamed
from panel_standins.parameternode import createGuiConnector

from AdvSegLib.attacks import ATTACKS, make_attack
from AdvSegLib.errors import BadRequest
from AdvSegLib.regions import REGIONS
from AdvSegLib.target_maps import TARGET_MAPS

pytest_plugins = ("slicer_fixtures", "fixtures_scene", "fixtures_panel")

KINDS = {**ATTACKS, **TARGET_MAPS, **REGIONS}
REUSED = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def aForm(aDesk: Desk) -> Any:
    holder = aDesk.qt.QWidget()
    holder.setLayout(aDesk.qt.QVBoxLayout())
    return moduleNamed("AdvSegRobustnessLib.Gui.ParameterForm").ParameterForm(holder)


def gui(name: str) -> Any:
    return moduleNamed(f"AdvSegRobustnessLib.Gui.{name}")


# -- generated widgets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_every_parameter_has_a_widget_at_its_default(aForm: Any, name: str) -> None:
    declared = KINDS[name].parameters()
    aForm.show(name, declared, structures=["heart", "left lung"])
    for item in declared:
        field = aForm.fields[item["name"]]
        expected = (
            "heart"
            if item["name"] == "structure"
            else item["default"] or None
            if item["type"] == "str"
            else item["default"]
        )
        assert field.get() == expected, item["name"]
        assert field.problem == ""
        if item["type"] == "int" and "minimum" in item and item["default"] is not None:
            assert field.widget.minimum == item["minimum"]


@pytest.mark.parametrize("name", ATTACKS)
def test_what_the_widgets_give_makes_the_attack(aForm: Any, name: str) -> None:
    declared = ATTACKS[name].parameters()
    aForm.show(name, declared, shared=ATTACKS[name].shared)
    if "diversity" in aForm.fields:  # which excludes the other
        declared = [item for item in declared if item["name"] != "stop_at"]
    other = {"bool": True, "int": 3, "float": 0.25}
    for item in declared:
        aForm.fields[item["name"]].set(item["choices"][-1] if "choices" in item else other[item["type"]])
    made = make_attack(name, **aForm.values)
    for item in declared:
        assert getattr(made, item["name"]) == (item["choices"][-1] if "choices" in item else other[item["type"]])


def test_values_of_each_kind_are_remembered_and_travel_as_json(aForm: Any) -> None:
    heard: list[str] = []
    aForm.onChanged(lambda: heard.append(aForm.read()))
    aForm.show("pgd", ATTACKS["pgd"].parameters())
    aForm.fields["steps"].set(7)
    aForm.fields["alpha"].set(0.5)
    aForm.show("fgsm", ATTACKS["fgsm"].parameters())
    aForm.fields["loss"].set("ce")
    aForm.show("pgd", ATTACKS["pgd"].parameters())
    assert aForm.values == {"steps": 7, "alpha": 0.5}
    assert json.loads(heard[-1]) == {"pgd": {"steps": 7, "alpha": 0.5}, "fgsm": {"loss": "ce"}}
    count = len(heard)
    aForm.write('{"pgd": {"steps": 9}}')
    assert aForm.values == {"steps": 9}
    assert aForm.fields["alpha"].get() is None
    assert len(heard) == count, "what was written is not news"


@pytest.mark.parametrize("damaged", ["", "{", "[1]", '{"pgd": 3}', "null", '"pgd"'])
def test_damaged_json_counts_as_empty(aForm: Any, damaged: str) -> None:
    aForm.show("pgd", ATTACKS["pgd"].parameters())
    aForm.write(damaged)
    assert aForm.values == {}


@REUSED
@given(value=st.floats(0, 1e6, allow_nan=False))
def test_numbers_are_kept_exactly(aDesk: Desk, value: float) -> None:
    field = gui("ParameterFields").FloatField({"name": "tau", "default": 0.0, "minimum": 0.0}, lambda: None)
    field.set(value)
    assert field.get() == value
    assert field.problem == ""


RIGHT, WRONG = ("0.5", "1e-5", ""), ("-1", "2", "nan", "inf", "0,5", "half")


@pytest.mark.parametrize(("text", "fits"), [*((text, True) for text in RIGHT), *((text, False) for text in WRONG)])
def test_a_wrong_number_is_named(aDesk: Desk, text: str, fits: bool) -> None:
    heard: list[int] = []
    declared = {"name": "alpha", "default": None, "minimum": 0.0, "maximum": 1.0}
    field = gui("ParameterFields").FloatField(declared, lambda: heard.append(1))
    field.widget.text = "0.1"
    field.widget.text = text
    assert (field.problem == "") is fits
    assert fits or ("alpha" in field.problem and "0 to 1" in field.problem and text in field.problem)
    assert len(heard) == 2


# -- small parts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "a", "1, x", "-1", "101", "nan", ",", "1..2"])
def test_percents_that_are_none_are_refused(aDesk: Desk, text: str) -> None:
    with pytest.raises(BadRequest, match="epsilons"):
        gui("Requests").percents(text)


@pytest.mark.parametrize(("text", "values"), [("1", [0.01]), ("0.5, 2", [0.005, 0.02]), (" 1 % ;5%,", [0.01, 0.05])])
def test_percents(aDesk: Desk, text: str, values: list[float]) -> None:
    assert gui("Requests").percents(text) == pytest.approx(values)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (75, "1:15"), (3671, "1:01:11")])
def test_clock(aDesk: Desk, seconds: float, text: str) -> None:
    assert gui("Progress").clock(seconds) == text


def test_folders_are_copied_whole_and_under_safe_names(aDesk: Desk, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "file").write_text("x")
    folders = gui("RunFolders")
    first = folders.copyFolder(source, tmp_path, "a/b: ../c")
    second = folders.copyFolder(source, tmp_path, "a/b: ../c")
    assert first.parent == second.parent == tmp_path
    assert first != second
    assert (second / "inner" / "file").read_text() == "x"
    assert not list(tmp_path.glob(".advseg-*"))
    with pytest.raises(BadRequest, match="no such folder"):
        folders.copyFolder(source, tmp_path / "absent", "x")


def test_later_calls_once(aDesk: Desk) -> None:
    calls: list[int] = []
    later = gui("Wiring").Later(lambda: calls.append(1))
    for _ in range(5):
        later()
    assert calls == []
    aDesk.process()
    assert calls == [1]
    later()
    later.stop()
    aDesk.process()
    assert calls == [1]


# -- the stand-ins are as strict as PythonQt --------------------------------------------------------------------------


def test_properties_are_attributes_and_no_calls(aDesk: Desk) -> None:
    spin = aDesk.qt.QSpinBox()
    spin.value = 4
    assert spin.value == 4
    with pytest.raises(TypeError):
        spin.value()
    with pytest.raises(AttributeError, match="no property"):
        spin.valeu = 3
    with pytest.raises(AttributeError):
        spin.value = None
    with pytest.raises(AttributeError):
        spin.valeu  # noqa: B018


def test_an_unknown_signal_fails(aDesk: Desk) -> None:
    button = aDesk.qt.QPushButton()
    with pytest.raises(AssertionError, match="no signal"):
        button.connect("clickd(bool)", print)
    with pytest.raises(AssertionError, match="was not connected"):
        button.disconnect("clicked(bool)", print)


def test_slots_get_no_more_arguments_than_they_take_and_failures_are_kept(aDesk: Desk) -> None:
    button, heard = aDesk.qt.QPushButton(), []
    button.connect("clicked(bool)", lambda: heard.append("none"))
    button.connect("clicked(bool)", lambda on: heard.append(on))
    button.connect("clicked(bool)", lambda on, more: None)
    button.click()
    assert heard == ["none", False]
    assert len(pythonqt.FAILURES) == 1
    assert isinstance(pythonqt.FAILURES.pop(), TypeError)


@pytest.mark.parametrize(
    ("widget", "kind"),
    [("ctkSliderWidget", float), ("QSlider", float), ("QPlainTextEdit", str), ("QComboBox", str),
     ("QRadioButton", bool), ("QLineEdit", int)],
)  # fmt: skip
def test_pairs_that_slicer_refuses_are_refused(aDesk: Desk, widget: str, kind: type) -> None:
    import ctk
    import qt

    with pytest.raises(RuntimeError, match="GUI connector"):
        createGuiConnector((getattr(qt, widget, None) and getattr(qt, widget)()) or getattr(ctk, widget)(), kind)
