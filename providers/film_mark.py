"""The mark of a film as generated media: its C2PA manifest, as far as people and later steps need it."""

from pydantic import BaseModel


class FilmMark(BaseModel, frozen=True):
    """The mark of a film: the signer, whether its certificate is one for development, and the source type."""

    signed_by: str
    development: bool
    source_type: str


class Ingredient(BaseModel, frozen=True):
    """A clip in the manifest of a film. `manifest` says whether the vendor's own one is kept."""

    title: str
    sha256: str
    provider: str
    model: str
    manifest: bool


class Provenance(FilmMark):
    """The manifest of a film. `problems` are the C2PA codes for which a signature does not hold."""

    valid: bool
    problems: list[str]
    ingredients: list[Ingredient]

    @property
    def mark(self) -> FilmMark:
        """Return the mark alone."""
        return FilmMark(signed_by=self.signed_by, development=self.development, source_type=self.source_type)
