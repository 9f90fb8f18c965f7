"""Figures of speed beside yardsticks that do the same work, and a soak. Not part of the product."""
