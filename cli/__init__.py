"""The `myloware` command."""
