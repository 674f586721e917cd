"""The application of a server in a process of its own. `RECORDS` names the file that gets a line for each response that has ended."""

import json
import os
from pathlib import Path

from web import application, ending

from langgraph_observe import Finished, Observer


def write(record):
    """At once: a process that is shut down may not come to anything else."""
    if isinstance(record, Finished):
        line = {"name": record.run.name, "ending": ending(record), "pieces": record.stream.pieces, "pid": os.getpid()}
        with Path(os.environ["RECORDS"]).open("a") as file:
            file.write(json.dumps(line) + "\n")


app = application(observer=Observer(write), through=bool(os.environ.get("THROUGH")))
