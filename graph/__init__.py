"""The run graph: every step from a brief to a published film. Read `graph/graph.py` first."""
