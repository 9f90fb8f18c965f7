"""Those who work for us: one module per vendor's contract, behind the seams of `providers/base.py`."""
