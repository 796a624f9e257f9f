"""The studies behind the tables: fixed lists of benchmarks and proxies, run by `python -m vintk_kit.studies`."""

from vintk_kit.studies.plans import STUDIES, Study
from vintk_kit.studies.runner import FILES, load_table, run_study

__all__ = ["FILES", "STUDIES", "Study", "load_table", "run_study"]
