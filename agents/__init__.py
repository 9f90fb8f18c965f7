"""Questions to a model: typed value in, typed value out."""
