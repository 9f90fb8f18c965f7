"""A stand-in for the outside world that speaks HTTP: models, moderation, videos, publishing. Imports nothing of ours."""
