"""Loads what plotly shows figures with in a notebook, without a second and a half of grammars.

plotly imports nbformat, that jsonschema, and that rfc3987_syntax, which compiles 39 grammars on import for a check of
internationalised addresses that no figure asks for. They are compiled at the first such check instead.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

_GRAMMARS = "rfc3987_syntax"


def _is_valid_syntax(*values: str) -> bool:
    return importlib.import_module(_GRAMMARS).is_valid_syntax(*values)


def load_renderers() -> None:
    """Imports plotly's renderers; every check of jsonschema still works afterwards."""
    deferred = None
    if not {_GRAMMARS, "jsonschema"} & sys.modules.keys() and importlib.util.find_spec(_GRAMMARS):
        deferred = sys.modules[_GRAMMARS] = ModuleType(_GRAMMARS)
        deferred.is_valid_syntax = _is_valid_syntax
    try:
        importlib.import_module("plotly.io._renderers")
    finally:
        if deferred is not None:
            del sys.modules[_GRAMMARS]
