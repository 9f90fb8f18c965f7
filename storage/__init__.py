"""What we keep: all SQL of the project, the migrations, the embedded server, the kept files."""
