"""A stand-in for the outside world that speaks HTTP. Imports nothing of ours."""
