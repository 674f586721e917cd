"""The host's objects -> records. The only room that imports langchain_core or langgraph."""
