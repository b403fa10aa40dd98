"""Sweeps: plans of many units, a store that is resumed, engines that compute. Light to import.

A study (YAML) becomes a :class:`~AdvSegLib.benchmark.plan.Plan` whose units have content keys; an engine computes
what the :class:`~AdvSegLib.benchmark.store.Store` does not hold yet; ``collect`` makes tables of it.
"""

from AdvSegLib.benchmark.plan import Plan, Unit
from AdvSegLib.benchmark.planning import make_plan
from AdvSegLib.benchmark.records import Damaged, Record
from AdvSegLib.benchmark.running import run_plan
from AdvSegLib.benchmark.store import Store
from AdvSegLib.benchmark.study import Study, load_study

__all__ = ["Damaged", "Plan", "Record", "Store", "Study", "Unit", "load_study", "make_plan", "run_plan"]
