"""The order of events. Read `graph/graph.py` first."""
