"""`python -m langgraph_observe` is `langgraph-observe`."""

import sys

from langgraph_observe.cli import main

if __name__ == "__main__":
    sys.exit(main())
