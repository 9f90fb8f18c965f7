"""Validate clips, render films and check the result, with PyAV (FFmpeg)."""
