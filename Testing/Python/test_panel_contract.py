"""What holds between the .ui, the parameter node, the request, the layers and the registries."""

from __future__ import annotations

import ast
import subprocess
import sys
import typing
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from fixtures_panel import EXTENSION, OpenPanel
from panel_standins.install import Desk, moduleNamed

pytest_plugins = ("slicer_fixtures", "fixtures_scene", "fixtures_panel")

UI = EXTENSION / "Resources" / "UI" / "AdvSegRobustness.ui"
MODULE = EXTENSION / "AdvSegRobustness.py"
LIBRARY = EXTENSION / "AdvSegRobustnessLib"
GUI = sorted((LIBRARY / "Gui").glob("*.py"))
SCENE = sorted(LIBRARY.glob("*.py"))
INTERACTIVE = {
    "QPushButton", "QComboBox", "QSpinBox", "QDoubleSpinBox", "QLineEdit", "QListWidget", "QCheckBox", "QTextBrowser",
    "QPlainTextEdit", "QProgressBar", "ctkSliderWidget", "ctkPathLineEdit", "qMRMLNodeComboBox", "qMRMLTableView",
}  # fmt: skip
ALLOWED = {
    "__future__",
    "slicer",
    "vtk",
    "qt",
    "ctk",
    "numpy",
    "SimpleITK",
    "AdvSegLib",
    "AdvSegRobustnessLib",
    "SampleData",
}


def widgets() -> list[ET.Element]:
    return ET.parse(UI).getroot().findall(".//widget")


def propertyOf(widget: ET.Element, name: str) -> str | None:
    found = widget.find(f"property[@name='{name}']")
    return None if found is None else "".join(found.itertext()).strip()


def fileScope(path: Path) -> set[str]:
    """Top-level names that a file imports when it is imported itself."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for inner in ast.walk(node) if isinstance(node, ast.Try | ast.If) else [node]:
            if isinstance(inner, ast.Import):
                names |= {alias.name.split(".")[0] for alias in inner.names}
            elif isinstance(inner, ast.ImportFrom) and inner.level == 0:
                names.add((inner.module or "").split(".")[0])
    return names


# -- the .ui ----------------------------------------------------------------------------------------------------------


def test_every_parameter_has_one_widget_and_every_bound_widget_its_parameter(aDesk: Desk) -> None:
    module = moduleNamed("AdvSegRobustnessLib.Gui.ParameterNode")
    bound = [propertyOf(widget, "SlicerParameterName") for widget in widgets()]
    named = [name for name in bound if name]
    assert len(named) == len(set(named))
    assert set(named) == set(module.AdvSegRobustnessParameterNode.kinds)


def test_every_interactive_widget_has_a_tooltip() -> None:
    lacking = [widget.get("name") for widget in widgets()
               if widget.get("class") in INTERACTIVE and len(propertyOf(widget, "toolTip") or "") < 15]  # fmt: skip
    assert lacking == []


def test_generated_widgets_have_tooltips(aPanel: OpenPanel) -> None:
    for attack in [item["name"] for item in aPanel.panel.logic.attacks()]:
        aPanel.parameters.attack = attack
        for name, field in aPanel.panel.attack.form.fields.items():
            assert len(field.widget.toolTip) > 10, (attack, name)


def test_every_mrml_widget_gets_the_scene() -> None:
    mrml = {widget.get("name") for widget in widgets() if str(widget.get("class")).startswith("qMRML")}
    connected = {item.findtext("receiver") for item in ET.parse(UI).getroot().findall(".//connection")}
    assert connected == mrml - {"AdvSegRobustness"}


def test_names_are_unique_and_none_is_taken_by_slicers_segment_editor() -> None:
    names = [str(widget.get("name")) for widget in widgets()]
    assert len(names) == len(set(names))
    assert not {"Draw", "Paint", "Erase", "AddSegmentButton", "UndoButton", "SegmentsTableView"} & set(names)
    assert all(name[0].islower() or name == "AdvSegRobustness" for name in names)


def test_sections_come_in_the_order_of_the_work() -> None:
    titles = [propertyOf(widget, "text") for widget in ET.parse(UI).getroot().findall("./widget/layout/item/widget")]
    assert titles == ["1. Scan", "2. Model", "3. Goal", "4. Attack", "5. Run", "6. Results"]


# -- parameter node and request ---------------------------------------------------------------------------------------


def test_every_field_of_a_request_comes_from_the_panel() -> None:
    tree = ast.parse((LIBRARY / "Gui" / "Requests.py").read_text(encoding="utf-8"))
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "AttackRequest"
    ]
    given = {keyword.arg for call in calls for keyword in call.keywords}
    source = ast.parse((LIBRARY / "AttackRequest.py").read_text(encoding="utf-8"))
    (described,) = [node for node in source.body if isinstance(node, ast.ClassDef) and node.name == "AttackRequest"]
    fields = {node.target.id for node in described.body if isinstance(node, ast.AnnAssign)}  # type: ignore[union-attr]
    assert given == fields - {"relabel"}, "relabel is for scripts: segments go by name"


def test_defaults_are_those_of_the_registry(aPanel: OpenPanel) -> None:
    attack = next(item for item in aPanel.panel.logic.attacks() if item["name"] == aPanel.parameters.attack)
    assert aPanel.parameters.epsilonPercent == 100 * attack["default_epsilon"]
    assert aPanel.parameters.goal == "untargeted"
    assert aPanel.parameters.region == "whole"


@pytest.mark.parametrize("kind", ["attacks", "goals", "regions"])
def test_every_entry_of_a_registry_can_be_chosen(aPanel: OpenPanel, kind: str) -> None:
    parameter = {"attacks": "attack", "goals": "goal", "regions": "region"}[kind]
    combo = getattr(aPanel.ui, parameter + "ComboBox")
    form = {"attacks": aPanel.panel.attack.form, "goals": aPanel.panel.goal.form,
            "regions": aPanel.panel.attack.region.form}[kind]  # fmt: skip
    entries = getattr(aPanel.panel.logic, kind)()
    assert [combo.itemData(index) for index in range(combo.count)] == [entry["name"] for entry in entries]
    for index, entry in enumerate(entries):
        combo.currentIndex = index
        assert getattr(aPanel.parameters, parameter) == entry["name"]
        assert list(form.fields) == [item["name"] for item in entry["parameters"]]
        unset = {name: value for name, value in form.values.items() if name != "structure"}
        assert unset == {}, "defaults are left to the library"


def test_choosing_an_attack_takes_its_budget(aPanel: OpenPanel) -> None:
    combo = aPanel.ui.attackComboBox
    names = [combo.itemData(index) for index in range(combo.count)]
    combo.activated.emit(names.index("asma"))
    assert aPanel.parameters.epsilonPercent == 100.0
    combo.activated.emit(names.index("pgd"))
    assert aPanel.parameters.epsilonPercent == 5.0


def test_values_of_another_type_are_refused_by_the_parameter_node(aPanel: OpenPanel) -> None:
    for name, value in (
        ("seed", 1.5),
        ("model", None),
        ("epsilonPercent", "5"),
        ("channel1", "vtkMRMLScalarVolumeNode1"),
    ):
        with pytest.raises(TypeError):
            setattr(aPanel.parameters, name, value)
    with pytest.raises(ValueError, match="within"):
        aPanel.parameters.epsilonPercent = 101.0


def test_types_are_those_that_slicer_can_keep(aDesk: Desk) -> None:
    kinds = moduleNamed("AdvSegRobustnessLib.Gui.ParameterNode").AdvSegRobustnessParameterNode.kinds.values()
    plain = {typing.get_args(typing.Annotated[kind, None])[0] for kind in kinds}
    assert all(kind in (str, int, float, list[str]) or kind.__name__.startswith("vtkMRML") for kind in plain)


# -- layers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [MODULE, *GUI, *SCENE], ids=lambda path: path.name)
def test_nothing_third_party_is_imported_at_file_scope(path: Path) -> None:
    assert fileScope(path) <= ALLOWED | set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", SCENE, ids=lambda path: path.name)
def test_only_the_gui_touches_qt(path: Path) -> None:
    imported = {name.name.split(".")[0] for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.Import) for name in node.names}  # fmt: skip
    assert not imported & {"qt", "ctk"}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not {name for name in used if name.startswith(("slicer.app", "slicer.util.load", "slicer.util.save"))}
    modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in modules if "Gui" in name}, "the scene layer knows no panel"


@pytest.mark.parametrize("path", [MODULE, *GUI], ids=lambda path: path.name)
def test_texts_are_translatable(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_":
            assert isinstance(node.args[0], ast.Constant), f"line {node.lineno}: not a literal text"


@pytest.mark.parametrize("path", GUI, ids=lambda path: path.name)
def test_signals_are_connected_by_wire_or_by_the_timers(path: Path) -> None:
    if path.name in ("Wiring.py", "Bindings.py"):
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "connect":
            assert "timeout" in ast.unparse(node.func), (
                f"line {node.lineno}: a signal that is misspelt would stay silent"
            )


def test_opening_the_panel_loads_neither_torch_nor_monai() -> None:
    code = (
        "import sys, tempfile, pathlib\n"
        "from slicer_fixtures import HeadlessSlicer\n"
        "from panel_standins.install import installed, moduleNamed\n"
        "from panel_standins.host import ModuleHost\n"
        "from panel_standins import pythonqt\n"
        "headless = HeadlessSlicer(pathlib.Path(tempfile.mkdtemp()))\n"
        "with installed(headless) as desk:\n"
        "    module = moduleNamed('AdvSegRobustness')\n"
        "    widget = module.AdvSegRobustnessWidget(ModuleHost.make())\n"
        "    widget.setup(); widget.enter(); desk.process()\n"
        "    loaded = {'torch', 'monai', 'skimage', 'matplotlib'} & set(sys.modules)\n"
        "    widget.cleanup(); module.dropMarks()\n"
        "assert not loaded, loaded\n"
        "assert not pythonqt.FAILURES, pythonqt.FAILURES\n"
    )
    path = ":".join([str(EXTENSION.parent), str(Path(__file__).parent)])
    environment = {**dict(__import__("os").environ), "PYTHONPATH": path, "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_modules_are_small() -> None:
    long = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in GUI}
    assert {name: lines for name, lines in long.items() if lines > 260} == {}
