"""The REST doors: one module per resource of the API reference."""
