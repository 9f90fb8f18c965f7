"""Logs, metrics and traces, as every package records them. It imports nothing of ours."""
