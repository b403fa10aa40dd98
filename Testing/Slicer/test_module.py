"""The module is loaded and described, builds its panel without a window, and has loaded nothing heavy."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import slicer
from in_slicer import SlicerTestCase, runTests

HEAVY = {"torch", "monai"}
LOADED = HEAVY & set(sys.modules)
"""What somebody else had loaded before."""


class ModuleTest(SlicerTestCase):
    def setUp(self):
        super().setUp()
        self.assertTrue(
            hasattr(slicer.modules, "advsegrobustness"), "the module was not loaded; see the messages above"
        )
        self.module = slicer.modules.advsegrobustness

    def test_is_described(self):
        self.assertEqual(self.module.name, "AdvSegRobustness")
        self.assertTrue(self.module.title)
        self.assertTrue(all(self.module.categories))
        self.assertTrue(all(self.module.contributors))
        self.assertTrue(self.module.helpText)
        self.assertTrue(self.module.acknowledgementText)
        self.assertFalse(self.module.icon.isNull())

    def test_the_library_lies_beside_the_module(self):
        import AdvSegRobustnessLib

        import AdvSegLib

        module = pathlib.Path(self.module.path).resolve()
        self.assertEqual(pathlib.Path(AdvSegRobustnessLib.__file__).resolve().parents[1], module.parent)
        self.assertIn(pathlib.Path(AdvSegLib.__file__).resolve().parents[1], module.parents)

    def test_loading_and_building_imports_nothing_that_computes(self):
        self.assertIsNotNone(self.module.widgetRepresentation())
        self.assertEqual(HEAVY & set(sys.modules), LOADED)

    def test_the_widget_is_built_once_and_takes_a_scene(self):
        self.assertEqual(self.module.widgetRepresentation(), self.module.widgetRepresentation())
        scene = slicer.vtkMRMLScene()
        self.module.setMRMLScene(scene)
        self.assertEqual(self.module.mrmlScene(), scene)
        self.module.setMRMLScene(slicer.mrmlScene)
        self.assertEqual(self.module.mrmlScene(), slicer.mrmlScene)

    def test_entering_leaving_and_closing_the_scene_leaves_no_node_behind(self):
        widget = slicer.util.getModuleWidget("AdvSegRobustness")
        before = self.census()
        widget.enter()
        widget.exit()
        slicer.mrmlScene.Clear(0)
        widget.enter()
        widget.exit()
        self.assertEqual(self.census(), before)

    def test_models_and_attacks_are_listed_without_a_child_process(self):
        from AdvSegRobustness import AdvSegRobustnessLogic

        logic = AdvSegRobustnessLogic()
        self.addCleanup(logic.close)
        logic = logic.robustness
        self.assertLessEqual({"brain", "chest"}, {model["name"] for model in logic.models()})
        self.assertLessEqual({"fgsm", "pgd", "asma"}, {attack["name"] for attack in logic.attacks()})
        self.assertEqual(HEAVY & set(sys.modules), LOADED)


runTests(__file__, ModuleTest)
