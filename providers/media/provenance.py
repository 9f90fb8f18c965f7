"""The C2PA manifest of a film: signed into the file, and read back.

It names the clips as ingredients, with the manifests of their vendors, the edits, and the source type of the IPTC.
"""

import io
import json
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import c2pa
from PIL import Image

from providers.base import Unusable
from providers.film_mark import FilmMark, Ingredient, Provenance
from providers.media.certificates import DEVELOPMENT_NAME, CertificateError, SigningKey
from providers.media.probe import open_mp4
from providers.renders.manifest import Manifest, ManifestClip

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
SourceType = Literal["trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "algorithmicMedia"]
#: The sandbox writes this into the comment of each of its clips: no model was trained for them.
SANDBOX_MARK = "SANDBOX"
#: The names of the facts about an ingredient.
FACTS = "myloware."
GENERATOR = {"name": "MyloWare", "version": version("myloware")}
#: The signer is not on a list of trusted ones. That is not a fault of the signature.
UNTRUSTED = "signingCredential.untrusted"


def sign_film(film: Path, manifest: Manifest, clips: Sequence[Path], key: SigningKey) -> FilmMark:
    """Sign the manifest of the film into its file and return the mark.

    `clips` are the delivered files of the clips, in order. Raises Unusable, and leaves the film as it was.
    """
    signed = film.with_name("signed.mp4")
    parts = [_Part(f"clip-{n}", *each) for n, each in enumerate(zip(manifest.clips, clips, strict=True), start=1)]
    actions = {"label": "c2pa.actions.v2", "data": {"actions": _actions(manifest, parts)}}
    claim = _definition(manifest.title or "Film", "video/mp4")
    ingredients = [part.ingredient for part in parts if not part.is_readable] + _music_of(manifest)
    definition = {**claim, "ingredients": ingredients, "assertions": [actions]}
    try:
        with _signer(key) as signer, _builder(definition) as builder:
            for part in parts:
                part.add_to(builder)
            with film.open("rb") as source, signed.open("w+b") as target:
                builder.sign(signer, "video/mp4", source, target)
    except c2pa.C2paError as error:
        raise Unusable("film_not_signed", f"The film could not be signed: {error}.") from error
    provenance = read_provenance(signed)
    if provenance is None or not provenance.valid:
        reason = ", ".join(provenance.problems) if provenance else "the file has no manifest"
        raise Unusable("film_not_signed", f"The film could not be signed: {reason}.")
    os.replace(signed, film)
    return provenance.mark


def read_provenance(film: Path) -> Provenance | None:
    """Return the manifest of a film, or None if the file has none; one that cannot be read is not valid."""
    try:
        with film.open("rb") as file, c2pa.Reader("video/mp4", file, context=_offline()) as reader:
            found = json.loads(reader.json())
    except c2pa.C2paError as error:
        if type(error).__name__.endswith("ManifestNotFound"):
            return None
        codes = [str(error).partition(":")[0]]
        return Provenance(signed_by="", development=False, source_type="", valid=False, problems=codes, ingredients=[])
    manifest = found["manifests"][found["active_manifest"]]
    signature = manifest.get("signature_info", {})
    name = signature.get("common_name") or signature.get("issuer") or ""
    failures = found.get("validation_results", {}).get("activeManifest", {}).get("failure", [])
    return Provenance(
        signed_by=name,
        development=name == DEVELOPMENT_NAME,
        source_type=_source_type_in(manifest),
        valid=found.get("validation_state") in ("Valid", "Trusted"),
        problems=sorted({failure["code"] for failure in failures} - {UNTRUSTED}),
        ingredients=[_ingredient_in(each) for each in manifest.get("ingredients", [])],
    )


def check_signing_key(key: SigningKey) -> None:
    """Sign a small image and read it back. Raises CertificateError if C2PA does not take the certificate."""
    image, signed = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (16, 16)).save(image, "JPEG")
    actions = [{"action": "c2pa.created", "digitalSourceType": f"{SOURCE_TYPES}algorithmicMedia"}]
    assertions = [{"label": "c2pa.actions.v2", "data": {"actions": actions}}]
    try:
        definition = {**_definition("Check", "image/jpeg"), "assertions": assertions}
        with _signer(key) as signer, _builder(definition) as builder:
            builder.sign(signer, "image/jpeg", image, signed)
        with c2pa.Reader("image/jpeg", signed, context=_offline()) as reader:
            state = reader.get_validation_state()
    except c2pa.C2paError as error:
        raise CertificateError(f"C2PA_CERTIFICATE: C2PA does not take this certificate: {error}.") from error
    if state not in ("Valid", "Trusted"):
        raise CertificateError("C2PA_CERTIFICATE: C2PA does not take this certificate: its signatures are not valid.")


def _offline() -> c2pa.Context:
    # A manifest is a file of a stranger: nothing that it names is fetched. A thumbnail of an image takes 70 ms.
    verify, thumbnail = {"remote_manifest_fetch": False, "ocsp_fetch": False}, {"enabled": False}
    return c2pa.Context.from_dict({"verify": verify, "builder": {"thumbnail": thumbnail}})


def _builder(definition: Mapping[str, Any]) -> c2pa.Builder:
    return c2pa.Builder(json.dumps(definition), context=_offline())


def _signer(key: SigningKey) -> c2pa.Signer:
    texts = [key.certificates.encode(), key.key.encode(), None]
    return c2pa.Signer.from_info(c2pa.C2paSignerInfo(c2pa.C2paSigningAlg[key.algorithm], *texts))  # type: ignore[no-untyped-call]


def _definition(title: str, media_type: str) -> dict[str, Any]:
    return {"claim_generator_info": [GENERATOR], "title": title, "format": media_type}


def _ingredient(label: str, media_type: str, facts: Mapping[str, str]) -> dict[str, Any]:
    title, metadata = label.replace("-", " ").capitalize(), {f"{FACTS}{name}": fact for name, fact in facts.items()}
    return {"title": title, "format": media_type, "relationship": "componentOf", "label": label, "metadata": metadata}


class _Part:
    """A clip as a part of the film: its delivered file, and the ingredient that describes it."""

    def __init__(self, label: str, clip: ManifestClip, file: Path) -> None:
        self.label, self.source, self.file = label, clip.source, file
        with open_mp4(file) as container:
            self.is_of_sandbox = container.metadata.get("comment", "").startswith(SANDBOX_MARK)
        facts = {"sha256": clip.digest, **clip.source.model_dump(exclude_defaults=True)}
        self.ingredient = _ingredient(label, "video/mp4", facts)
        #: Whether C2PA can parse the file. Another one is named without its content.
        self.is_readable = True
        try:
            with _builder({}) as trial:
                self.add_to(trial)
        except c2pa.C2paError:
            self.is_readable = False

    def add_to(self, builder: c2pa.Builder) -> None:
        """Add the file as an ingredient, with the manifest that it may have. Raises C2paError."""
        if self.is_readable:
            with self.file.open("rb") as file:
                builder.add_ingredient(json.dumps(self.ingredient), "video/mp4", file)

    @property
    def source_type(self) -> SourceType:
        """Return the source type of the clip."""
        if self.is_of_sandbox:
            return "algorithmicMedia"
        return "compositeWithTrainedAlgorithmicMedia" if self.source.start_image else "trainedAlgorithmicMedia"


def _actions(manifest: Manifest, parts: Sequence[_Part]) -> list[dict[str, Any]]:
    """Return the actions that led to the film: it was created of clips, and edited."""
    own = {"softwareAgent": GENERATOR}
    actions = [{"action": "c2pa.created", "digitalSourceType": f"{SOURCE_TYPES}{_film_type(manifest, parts)}", **own}]
    for part in parts:
        agent = {"softwareAgent": {"name": part.source.model}} if part.source.model else {}
        place = {"action": "c2pa.placed", "parameters": {"ingredientIds": [part.label]}}
        actions.append({**place, "digitalSourceType": f"{SOURCE_TYPES}{part.source_type}", **agent})
    if manifest.music:
        actions.append({"action": "c2pa.placed", "parameters": {"ingredientIds": ["music"]}, **own})
    drawn = any([manifest.look.is_any, *(clip.overlay for clip in manifest.clips)])
    models = sorted({clip.narration.model or own["softwareAgent"]["name"] for clip in manifest.clips if clip.narration})
    edits: list[dict[str, Any]] = [{"description": "Texts were drawn over the clips."}] * drawn
    edits += [{"description": "A narration by a speech model was added.", "softwareAgent": {"name": n}} for n in models]
    edits.append({"description": f"The loudness was set to {manifest.loudness_lufs:g} LUFS."})
    return [*actions, *({"action": "c2pa.edited", **own, **edit} for edit in edits)]


def _music_of(manifest: Manifest) -> list[dict[str, Any]]:
    """Return the ingredient that describes the music, if there is any."""
    music = manifest.music
    return [_ingredient("music", "audio/flac", {"sha256": music.digest, "licence": music.licence})] if music else []


def _film_type(manifest: Manifest, parts: Sequence[_Part]) -> SourceType:
    """Return the source type of the film: with anything that a person uploaded it is a composite."""
    if manifest.music or any(part.source.start_image for part in parts):
        return "compositeWithTrainedAlgorithmicMedia"
    return "algorithmicMedia" if all(part.is_of_sandbox for part in parts) else "trainedAlgorithmicMedia"


def _source_type_in(manifest: Mapping[str, Any]) -> str:
    """Return the source type of the first action that has one: that of the asset itself."""
    found = [
        action["digitalSourceType"]
        for assertion in manifest.get("assertions", [])
        if assertion["label"].startswith("c2pa.actions")
        for action in assertion["data"]["actions"]
        if "digitalSourceType" in action
    ]
    return str(found[0]).removeprefix(SOURCE_TYPES) if found else ""


def _ingredient_in(found: Mapping[str, Any]) -> Ingredient:
    facts = {name: str(found.get("metadata", {}).get(f"{FACTS}{name}", "")) for name in ("sha256", "provider", "model")}
    return Ingredient(title=found.get("title", ""), manifest="active_manifest" in found, **facts)
