"""The Slicer module: how, and how badly, a segmentation model is fooled by noise nobody sees."""

import os
import shutil
import sys
import tempfile

import AdvSegRobustnessLib  # finds AdvSegLib  # noqa: F401
import qt
import slicer
from AdvSegRobustnessLib.Dependencies import ensureDependencies
from AdvSegRobustnessLib.Gui.Layouts import describeLayouts
from AdvSegRobustnessLib.Gui.Marks import dropMarks, keepMarks
from AdvSegRobustnessLib.Gui.ModelSection import PYTHON_KEY
from AdvSegRobustnessLib.Gui.Panel import Panel
from AdvSegRobustnessLib.Gui.SampleSources import registerSamples
from AdvSegRobustnessLib.Logic import RobustnessLogic
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from AdvSegLib.errors import AdvSegError

PACKAGE = "AdvSegRobustnessLib"


class AdvSegRobustness(ScriptedLoadableModule):
    """Title, texts, and what begins with the application: sample data, and the mark in the views."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Adversarial Segmentation Robustness")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Markups", "Segmentations"]
        parent.contributors = ["AdvSegRobustness contributors"]
        parent.helpText = _(
            "Attacks a segmentation model on the scan at hand: changes every voxel by at most a few percent of its "
            "range so that the segmentation goes wrong, or becomes what you have drawn, and shows what changed. "
            "Compares how well defended models withstand the same attack. Results are marked ADVERSARIAL: not for "
            "clinical use."
        )
        parent.acknowledgementText = _(
            "After Liu et al. 2021, Ozbulak et al. 2019 and Bortsova et al. 2020. Models and sample data are "
            "synthetic: no patient data."
        )
        slicer.app.connect("startupCompleted()", onStartupCompleted)
        slicer.app.connect("aboutToQuit()", onAboutToQuit)


def onStartupCompleted():
    """Keep mark and layouts from the start (a scene may be loaded without the panel), and offer sample data."""
    keepMarks(slicer.mrmlScene)
    if slicer.app.layoutManager() is not None:
        describeLayouts(slicer.app.layoutManager())
    registerSampleData()


def onAboutToQuit():
    """Take the marks away while there still are views: those of the library as it is now, after whatever reload."""
    from AdvSegRobustnessLib.Gui import Marks

    Marks.dropMarks()


def registerSampleData():
    """Offer the phantoms in the Sample Data module; they are drawn here, nothing is downloaded."""
    registerSamples(drawSample)


def drawSample(kind):
    """Draw a phantom for the Sample Data module, and show it; say in a window what went wrong."""
    logic = AdvSegRobustnessLogic()
    try:
        *volumes, _truth = logic.phantom(kind)
    except (AdvSegError, OSError) as error:
        slicer.util.errorDisplay(str(error), windowTitle=_("Sample {kind}").format(kind=kind))
    else:
        slicer.util.setSliceViewerLayers(background=volumes[-1], fit=True)
    finally:
        logic.close()


class AdvSegRobustnessWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Loads the .ui and passes on the events of its life; the panel does the rest."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panel = None

    def setup(self):
        """Build the panel; called when the module is opened for the first time, and after a reload."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/AdvSegRobustness.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = AdvSegRobustnessLogic()
        self.panel = Panel(self.ui, self.logic.robustness, slicer.mrmlScene, qt.QSettings())
        keepMarks(slicer.mrmlScene)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndImportEvent):
            self.addObserver(scene, event, self.onNodesChanged)
        self.initializeParameterNode()

    def cleanup(self):
        """Let go of everything; called when the application closes, and before a reload."""
        self.removeObservers()
        if self.panel is not None:
            self.panel.close()
            self.panel = None
        if self.logic is not None:
            self.logic.close()
            self.logic = None

    def enter(self):
        """The module is opened."""
        self.initializeParameterNode()
        self.panel.enter()

    def exit(self):
        """Another module is opened."""
        if self.panel is not None:
            self.panel.leave()

    def onSceneStartClose(self, caller, event):
        """The scene is about to be emptied: stop what runs for it."""
        self.panel.onSceneStartClose()

    def onSceneEndClose(self, caller, event):
        """Begin anew in the empty scene, where the module is open."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onNodesChanged(self, caller, event):
        """Nodes came or went: look for results once all have."""
        self.panel.onNodesChanged()

    def initializeParameterNode(self):
        """Bind the panel to the scene's parameter node."""
        if self.panel.parameterNode is None:
            self.panel.setParameterNode(self.logic.getParameterNode())

    def onReload(self):
        """Reload the library too, which Slicer's own reload leaves as it was."""
        dropMarks()
        forgetLibrary()
        ScriptedLoadableModuleWidget.onReload(self)


def forgetLibrary():
    """Have the module's library imported anew by whoever imports it next, in whatever order."""
    for name in [name for name in sys.modules if name == PACKAGE or name.startswith(PACKAGE + ".")]:
        del sys.modules[name]


class AdvSegRobustnessLogic(ScriptedLoadableModuleLogic):
    """Everything the module does, for the Python console and for scripts; nothing here needs the panel.

    Nodes go in, nodes come out; computing happens in a child process. To paste::

        from AdvSegRobustness import AdvSegRobustnessLogic
        logic = AdvSegRobustnessLogic()
        *volumes, truth = logic.phantom("brain")
        prediction = logic.segment("brain", volumes)
        result = logic.attack(model="brain", volumes=volumes, truth=truth, attack="pgd", epsilon=0.02,
                              parameters={"steps": 10})
        slicer.util.setSliceViewerLayers(background=result.adversarial[0])
        logic.close()
    """

    def __init__(self, parent=None):
        ScriptedLoadableModuleLogic.__init__(self, parent)
        self._robustness = None

    @property
    def robustness(self):
        """The RobustnessLogic of this scene, made when it is first needed."""
        if self._robustness is None:
            self._robustness = RobustnessLogic(
                slicer.mrmlScene,
                settings=ApplicationSettings(),
                environment=slicer.util.startupEnvironment,
                idle=slicer.app.processEvents,
            )
        return self._robustness

    def getParameterNode(self):
        """Return the typed parameter node of this scene."""
        from AdvSegRobustnessLib.Gui.ParameterNode import AdvSegRobustnessParameterNode  # see there: not before

        return AdvSegRobustnessParameterNode(super().getParameterNode())

    def phantom(self, kind="brain", **options):
        """Draw a synthetic case: ``*volumes, truth = logic.phantom("chest", seed=3)``; needs no PyTorch."""
        return self.robustness.phantom(kind, **options)

    def segment(self, model, volumes, **options):
        """Segment a scan: ``logic.segment("chest", [film]).GetName()``."""
        self.ensureReady()
        return self.robustness.segment(model, volumes, **options)

    def attack(self, request=None, **fields):
        """Attack a model on a scan: ``logic.attack(model="chest", volumes=[film], attack="fgsm", epsilon=0.01)``.

        With ``wait=False`` the Task comes back at once, ``onEvent(task, event)`` and ``onDone(task)`` are called while
        somebody calls ``logic.robustness.pump()``. The fields are those of AdvSegRobustnessLib.AttackRequest.
        """
        self.ensureReady()
        return self.robustness.attack(request, **fields)

    def compare(self, models, **fields):
        """Attack several models alike: ``logic.compare(["chest", "/my/defended"], volumes=[film]).table``.

        Runs that fail are left out; ``.failures`` says why.
        """
        self.ensureReady()
        return self.robustness.compare(models, **fields)

    def sweep(self, epsilons, **fields):
        """Attack with several budgets: ``logic.sweep([0.005, 0.01, 0.02], model="chest", volumes=[film]).charts``."""
        self.ensureReady()
        return self.robustness.sweep(epsilons, **fields)

    def ensureReady(self):
        """Have what computing needs, after asking; BadRequest says what is missing and what to do."""
        ensureDependencies(ApplicationSettings().get("python", ""), testing=slicer.app.testingEnabled())

    def close(self):
        """End the child process, and remove temporary files."""
        if self._robustness is not None:
            self._robustness.close()
            self._robustness = None


class ApplicationSettings(dict):
    """The module's settings, read from the application's each time they matter."""

    def get(self, name, default=None):
        """Return the interpreter that somebody chose in the panel, or ``default``."""
        return (qt.QSettings().value(PYTHON_KEY) or default) if name == "python" else default


class AdvSegRobustnessTest(ScriptedLoadableModuleTest):
    """The module by itself, in the running application: with its child process, on drawn cases, about a minute."""

    def setUp(self):
        """Begin with an empty scene."""
        slicer.mrmlScene.Clear(0)

    def runTest(self):
        """Run every step, and leave nothing behind."""
        self.setUp()
        logic = AdvSegRobustnessLogic()
        try:
            self.checkChest(logic)
        finally:
            logic.close()
        self.setUp()
        self.delayDisplay(_("Test passed"))

    def checkChest(self, logic):
        """Draw, segment, attack, record, compare and sweep a chest film, then remove the result."""
        from AdvSegRobustnessLib.ResultNodes import findRuns, removeRun

        from AdvSegLib.segmenters.catalogue import model_folder

        film, truth = logic.phantom("chest", seed=1)
        self.assertEqual(film.GetScene(), slicer.mrmlScene)
        prediction = logic.segment("chest", [film])
        self.assertEqual(prediction.GetSegmentation().GetNumberOfSegments(), 5)

        fields = {"volumes": [film], "truth": truth, "attack": "i-fgsm", "parameters": {"steps": 4}, "epsilon": 0.02}
        result = logic.attack(model="chest", record=1, **fields)
        self.checkResult(result, film)
        self.assertEqual([run.runId for run in findRuns(slicer.mrmlScene)], [result.runId])
        self.assertGreaterEqual(result.browser.GetNumberOfItems(), 4)

        with tempfile.TemporaryDirectory() as folder:
            twin = shutil.copytree(model_folder("chest"), os.path.join(folder, "twin"))
            comparison = logic.compare(["chest", twin], keepRuns=False, **fields)
        self.assertEqual(comparison.table.GetNumberOfRows(), 2)
        fields.pop("epsilon")
        sweep = logic.sweep([0.01, 0.02], model="chest", **fields)
        self.assertEqual(sweep.table.GetNumberOfRows(), 2)

        removeRun(slicer.mrmlScene, result)
        self.assertEqual(findRuns(slicer.mrmlScene), [])
        self.assertIsNotNone(film.GetScene())

    def checkResult(self, result, film):
        """Hold a result to its budget and its mark."""
        import numpy as np

        clean = slicer.util.arrayFromVolume(film).astype(float)
        adversarial = slicer.util.arrayFromVolume(result.adversarial[0]).astype(float)
        largest = np.abs(adversarial - clean).max()
        self.assertGreater(largest, 0)
        self.assertLessEqual(largest, 0.02 * (clean.max() - clean.min()) * (1 + 1e-6))
        self.assertIn("ADVERSARIAL", result.adversarial[0].GetAttribute("AdvSeg.Mark"))
        self.assertGreater(result.metrics.GetNumberOfRows(), 0)
