"""Python imports this before the program, in what `langgraph-observe run` starts and in every Python that starts from there.

The directory is in PYTHONPATH and holds nothing else. A `sitecustomize` of the machine's own, which this one hides, comes first.
"""

# ruff: noqa: INP001 - the directory is no package

import logging
import sys
from importlib import import_module
from pathlib import Path

_hidden_by = sys.modules.pop(__name__)
sys.path[:] = [place for place in sys.path if Path(place) != Path(__file__).parent]
try:
    import_module(__name__)
except ModuleNotFoundError as error:
    if error.name != __name__:
        raise
finally:
    sys.modules.setdefault(__name__, _hidden_by)  # whoever imports a module looks there for it when it is done
    try:
        from langgraph_observe.everywhere import instrument

        instrument()
    except Exception as error:
        logging.getLogger("langgraph_observe").warning("nothing is observed: %s", type(error).__name__)
