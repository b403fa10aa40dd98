"""Results out of Slicer: the run folder as it was computed, and the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ctk
from slicer.i18n import tr as _

from AdvSegLib.errors import BadRequest

from .RunFolders import copyFolder, writeTable
from .Section import Section
from .Wiring import setReady, wire


class ExportSection(Section):
    """The part of section 6 that writes files."""

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self._tips = (self.ui.exportRunButton.toolTip, self.ui.exportTablesButton.toolTip)
        self.ui.exportFolderEdit.filters = ctk.ctkPathLineEdit.Dirs | ctk.ctkPathLineEdit.Writable
        wire(self.ui.exportFolderEdit, "currentPathChanged(QString)", lambda _path: self.update())
        wire(self.ui.exportRunButton, "clicked(bool)", lambda _on: self.panel.attempt(_("Export"), self.exportRun))
        wire(
            self.ui.exportTablesButton, "clicked(bool)", lambda _on: self.panel.attempt(_("Export"), self.exportTables)
        )

    def update(self) -> None:
        """Enable what can be exported."""
        result = self.panel.results.result
        lacks = "" if result is not None else _("There is no result yet: run an attack.")
        where = "" if self.ui.exportFolderEdit.currentPath else _("Choose a folder to export to.")
        gone = ""
        if result is not None and self.panel.run.folders.find(result.runId) is None:
            gone = _("The run folder of this result is not at hand: it was computed in another session, or compared.")
        setReady(self.ui.exportRunButton, lacks or gone or where, self._tips[0])
        setReady(self.ui.exportTablesButton, lacks or where, self._tips[1])

    def exportRun(self) -> None:
        """Copy the result's run folder."""
        result = self.panel.results.result
        source = self.panel.run.folders.find(result.runId)
        if source is None:
            raise BadRequest(f"{result.name}: its run folder is gone")
        self.panel.run.say(_("Exported to {path}").format(path=copyFolder(source, self._folder, result.name)))

    def exportTables(self) -> None:
        """Write the result's tables as CSV."""
        result, folder = self.panel.results.result, self._folder
        if not folder.is_dir():
            raise BadRequest(f"{folder}: no such folder; choose one that exists")
        for name, table in (("metrics", result.metrics), ("history", result.history)):
            if table is not None:
                writeTable(table, folder / f"{name}.csv")
        self.panel.run.say(_("Tables exported to {path}").format(path=folder))

    @property
    def _folder(self) -> Path:
        return Path(self.ui.exportFolderEdit.currentPath).expanduser()
