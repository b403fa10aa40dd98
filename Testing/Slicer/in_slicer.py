"""What the scripts of this folder share: running test cases in a Slicer that was started for it, and waiting."""

from __future__ import annotations

import os
import pathlib
import shutil
import sys
import tempfile
import time
import unittest

import slicer

SEEN = (
    "vtkMRMLVolumeNode", "vtkMRMLSegmentationNode", "vtkMRMLTableNode", "vtkMRMLPlotChartNode",
    "vtkMRMLPlotSeriesNode", "vtkMRMLSequenceNode", "vtkMRMLSequenceBrowserNode", "vtkMRMLMarkupsNode",
    "vtkMRMLTransformNode",
)  # fmt: skip
"""Kinds of nodes that are somebody's data; views, cameras and singletons come and go by themselves."""


def runTests(script, *cases):
    """Run the test cases and raise where one fails: Slicer, started with --testing, then exits with 1.

    ADVSEG_ONLY may hold a part of the names of the tests to run. The last line says that the script came to its end,
    since one that is not found leaves Slicer with 0.
    """
    only = os.environ.get("ADVSEG_ONLY", "")
    found = [unittest.defaultTestLoader.loadTestsFromTestCase(case) for case in cases]
    suite = unittest.TestSuite(test for tests in found for test in tests if only in test.id())
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    slicer.mrmlScene.Clear(0)
    name = pathlib.Path(script).stem
    if not result.wasSuccessful():
        raise AssertionError(f"{name}: {len(result.failures)} failures, {len(result.errors)} errors")
    print(f"{name}: {result.testsRun} tests passed, {len(result.skipped)} skipped", flush=True)


def waitFor(condition, what, seconds=120):
    """Let the application live until a condition holds; AssertionError after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain: {what}")
        slicer.app.processEvents()
        time.sleep(0.02)


def processAlive(pid):
    """Return whether a process runs (Windows has no signal 0: there it is taken from the list of processes)."""
    if os.name == "nt":
        import subprocess

        listed = subprocess.run(["tasklist", "/FI", f"PID eq {pid}"], capture_output=True, text=True, check=False)
        return str(pid) in listed.stdout
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class SlicerTestCase(unittest.TestCase):
    """A case with an empty scene before each test, and a folder that is gone after it."""

    def setUp(self):
        slicer.mrmlScene.Clear(0)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="AdvSegRobustness-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    @property
    def hierarchy(self):
        return slicer.mrmlScene.GetSubjectHierarchyNode()

    def census(self):
        """Return the IDs of the nodes that a user would miss, or find too many."""
        scene = slicer.mrmlScene
        return {
            scene.GetNthNodeByClass(index, kind).GetID()
            for kind in SEEN
            for index in range(scene.GetNumberOfNodesByClass(kind))
        }
