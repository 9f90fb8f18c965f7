"""Surreal objects for listed subjects, such as the signs of the zodiac, and the materials they consist of."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Material:
    """Impossible material: its name, its reaction to touch and its sound."""

    name: str
    reaction: str
    sound: str


MATERIALS = (
    Material("Molten", "it glows and flows back into shape under the fingertips", "a thick, warm pour"),
    Material("Folded Glass", "it bends like cloth and never breaks", "soft glass creaking like fresh linen"),
    Material("Velvet Stone", "its surface yields and slowly rises again", "a deep velvet rub over stone"),
    Material("Liquid Marble", "its veins drift apart and close like milk", "slow, heavy ripples"),
    Material("Frozen Light", "it splits the light into quiet colours", "tiny crystals ringing"),
    Material("Honey Crystal", "it stretches into golden threads and draws back", "sticky threads letting go"),
    Material("Woven Water", "its strands part and braid themselves again", "a thin stream over fingers"),
    Material("Paper Bronze", "it crinkles like paper and rings like a bell", "crisp paper over a low bell"),
    Material("Pearl Foam", "it crackles into pearls and swells again", "fine foam popping close by"),
    Material("Silk Ember", "it glows where it is touched and cools to grey silk", "a hush of embers and silk"),
    Material("Cloud Porcelain", "it turns to mist at the edges and sets again", "porcelain brushed by breath"),
    Material("Moss Gold", "small leaves of gold unfold under the palm", "damp moss pressed and released"),
    Material("Smoke Quartz", "smoke turns inside it with every touch", "a fingernail circling on quartz"),
    Material("Soft Amber", "it keeps the print of a finger and lets it fade", "a dull, warm tapping"),
    Material("Mirror Sand", "it pours away and stands up again, grain by grain", "sand running over metal"),
    Material("Ribbon Ice", "it curls into ribbons that do not melt", "ice curling from a plane"),
)

OBJECTS = {
    "aries": ("Ram Horn", "Battle Drum", "Spark Wheel"),
    "taurus": ("Bull Bell", "Rose Plough", "Clover Crown"),
    "gemini": ("Twin Mask", "Double Key", "Mirror Fan"),
    "cancer": ("Crab Shell", "Moon Cradle", "Tide Lantern"),
    "leo": ("Lion Mane", "Sun Crown", "Amber Paw"),
    "virgo": ("Wheat Sheaf", "Linen Book", "Seed Locket"),
    "libra": ("Balance Scale", "Feather Weight", "Pendulum"),
    "scorpio": ("Scorpion Tail", "Sealed Vial", "Thorn Ring"),
    "sagittarius": ("Archer Bow", "Comet Arrow", "Travel Compass"),
    "capricorn": ("Goat Horn Stair", "Mountain Clock", "Summit Bell"),
    "aquarius": ("Water Urn", "Wave Radio", "Rain Harp"),
    "pisces": ("Twin Fish", "Dream Net", "Shell Flute"),
}
FALLBACK_OBJECTS = ("Music Box", "Lantern", "Hourglass", "Feather", "Compass", "Flower", "Key", "Bell", "Bowl", "Mask")


def choose_object(subject: str, index: int, revision: int) -> str:
    """Return the object of a subject; each revision has another one."""
    own = OBJECTS.get(subject.strip().lower())
    if own is not None:
        return own[revision % len(own)]
    return FALLBACK_OBJECTS[(index + 3 * revision) % len(FALLBACK_OBJECTS)]
