"""See every step of a LangChain or LangGraph agent."""
