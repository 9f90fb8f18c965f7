"""What can be asked of a run, and what moves it. Every door calls these functions."""
