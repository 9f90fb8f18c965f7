"""The `myloware` command line."""
