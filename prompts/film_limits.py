"""The limits of the length of a film, in seconds; a module of its own, which loads no other."""

MIN_FILM_SECONDS, MAX_FILM_SECONDS = 3, 180
