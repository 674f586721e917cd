"""In these tests whatever goes wrong in observing is raised into the agent."""

import pytest

from langgraph_observe import testing


@pytest.fixture(autouse=True)
def strict():
    with testing.strict():
        yield
