"""Ideas of the sandbox's language model for briefs that people tried: subject, language, captions and constraints."""

import re
from itertools import combinations
from typing import Any

import pytest

from sandbox.briefs import find_language, read_brief, split_exclusions
from sandbox.structured_answers import answer_schema

OAT_MILK = "a 12 second ad for oat milk, cosy kitchen, no people"
MOUSSE = "recipe for chocolate mousse in three steps"
HEDGEHOG = "a bedtime story about a hedgehog who can't sleep"
TRAM = "news: the city opens a new tram line on Monday"
TCP = "explain TCP in three shots"
EMOJI = "🌧️☕📖"
GERMAN = "Ein ruhiges Video über den Herbst im Schwarzwald"
JAPANESE = "雨の京都、静かな夜の散歩"
ARABIC = "فيديو هادئ عن القهوة العربية في الصباح"

#: Brief, its subject as every scene starts with it, and the captions of its three shots.
FILMS = [
    (OAT_MILK, "Oat milk", ["Hello, oat milk", "Nothing to add", "Oat milk. That’s all."]),
    (MOUSSE, "Chocolate mousse", ["Hungry yet?", "Slow is delicious", "Worth the wait"]),
    (HEDGEHOG, "A hedgehog who can't sleep", ["Once upon a time…", "But wait, what was that?", "Good night, hedgehog"]),
    (TRAM, "The city opens a new tram line on Monday", ["Coming Monday", "A closer look", "And that is the news"]),
    (TCP, "TCP", ["Hello, can you hear me?", "Yes. Can you hear me?", "Good. Then let’s talk."]),
    ("lighthouse", "Lighthouse", ["Someone left a light on", "Every wave, only once", "Safe home"]),
    (EMOJI, "Rain, coffee and an open book", ["Stay in with me", "So smooth", "To be continued"]),
    (
        GERMAN,
        "Herbst im Schwarzwald",
        ["Nimm den längeren Weg", "Hier wächst die Stille", "Loslassen, wie die Blätter"],
    ),
    (JAPANESE, "雨の京都", ["降りはじめた", "ひとしずくずつ", "また降る日まで"]),
    (ARABIC, "القهوة العربية في الصباح", ["أولًا هذا الفنجان", "رشفة من الهدوء", "الآن يبدأ النهار"]),
    ("oat milk, no water", "Oat milk", ["Before the day begins", "So smooth", "One more? One more."]),
    ("a relaxing rain video", "Rain", ["Stay in with me", "One drop at a time", "Smell the air now"]),
    ("a fox in the snow", "A fox in the snow", ["Someone was here first", "All ears", "Winter keeps a secret"]),
]
WATER = r"\b(water|rain\w*|sea|ocean|waves?|steam|puddles?|drops?|wet|mist|river)\b"
PEOPLE = r"\b(people|person|hands?|fingers?|faces?|someone|man|woman|child)\b"


def make(brief: str, *comments: str, count: int = 3, error: str = "") -> Any:
    """Return the sandbox's answer to the ideator after these comments, and after an error of the last answer."""
    history = "\n".join(f"Revision {n}: -\nThe reviewer: {text}" for n, text in enumerate(comments, start=1))
    request = f"<brief>\n{brief}\n</brief>"
    if comments:
        request += f"\n<history>\n{history}\n</history>\n<comment>\n{comments[-1]}\n</comment>"
    return answer_schema("Ideas", {"properties": {"ideas": {"minItems": count}}}, request + error)


def write_post(brief: str, title: str = "") -> Any:
    ideas = f"\n<ideas>\n{title}\n- A: B\n</ideas>" if title else ""
    return answer_schema("Caption", {}, f"<brief>\n{brief}\n</brief>{ideas}")


def texts_of(film: Any) -> str:
    return " ".join(text for idea in film["ideas"] for text in idea.values())


@pytest.mark.parametrize(("brief", "subject", "captions"), FILMS, ids=[brief for brief, *_ in FILMS])
def test_a_brief_gets_three_shots_of_its_own_subject(brief: str, subject: str, captions: list[str]) -> None:
    """Each scene starts with the subject, the captions are short and whole, and nothing is said twice."""
    film = make(brief)
    ideas = film["ideas"]

    assert film["title"] == subject
    assert [idea["overlay"] for idea in ideas] == captions
    assert all(idea["scene"].startswith(f"{subject}: ") for idea in ideas)
    assert all(len(idea["overlay"]) <= 32 and not idea["title"].endswith("…") for idea in ideas)
    assert all(len({idea[field] for idea in ideas}) == 3 for field in ("title", "scene", "sound", "overlay"))
    assert film == make(brief)


def test_different_briefs_get_different_words() -> None:
    """No caption, title or scene is shared by two of the films, except those about the same thing."""
    briefs = [brief for brief, *_ in FILMS if brief not in ("oat milk, no water", "a relaxing rain video")]

    for one, other in combinations(briefs, 2):
        first, second = make(one)["ideas"], make(other)["ideas"]
        for field in ("title", "scene", "overlay"):
            shared = {idea[field] for idea in first} & {idea[field] for idea in second}
            assert not shared, (one, other)


@pytest.mark.parametrize(
    ("brief", "excluded"),
    [
        ("oat milk, no water", WATER),
        ("no rain, no water", WATER),
        ("a mountain lodge, without water or people", rf"{WATER}|{PEOPLE}"),
        (OAT_MILK, PEOPLE),
        ("a cosy fireplace, no smoke", r"\bsmoke\b"),
        ("Un vídeo tranquilo sobre el café, sin agua", rf"{WATER}|\bagua\b"),
        ("ein Video über den Wald, ohne Menschen", PEOPLE),
    ],
)
def test_what_a_brief_excludes_is_named_nowhere(brief: str, excluded: str) -> None:
    """Neither does a scene, a sound, a title or a caption show it, nor does one say that it is missing."""
    for count in (1, 3, 12):
        assert not re.search(excluded, texts_of(make(brief, count=count)), re.IGNORECASE)


def test_the_details_of_a_brief_are_kept() -> None:
    """What stands beside the subject is in every scene."""
    assert all("cosy kitchen" in idea["scene"] for idea in make(OAT_MILK)["ideas"])


def test_a_subject_has_its_close_shot_in_any_place() -> None:
    """The shots of a fox in the snow are snow, the fox, snow."""
    snow, fox, last = (idea["scene"].partition(": ")[2] for idea in make("a fox in the snow")["ideas"])

    assert snow.startswith("snow")
    assert "ears" in fox
    assert last.startswith("snow")


@pytest.mark.parametrize(
    ("brief", "language"),
    [
        ("A quiet video about the sea", "en"),
        ("lighthouse", "en"),
        (GERMAN, "de"),
        ("Un vídeo tranquilo sobre la lluvia en Sevilla", "es"),
        ("Une recette de mousse au chocolat", "fr"),
        ("um vídeo calmo sobre o outono no Porto", "pt"),
        ("un video sul mare d'inverno", "it"),
        (JAPANESE, "ja"),
        (ARABIC, "ar"),
        ("een rustige video over een bos in de herfst", "other"),
        ("spokojny film o lesie w deszczu", "other"),
        ("یک ویدیوی آرام درباره چای", "other"),
    ],
)
def test_the_language_of_a_brief_is_recognized(brief: str, language: str) -> None:
    """By its script and its function words; eight languages have captions."""
    assert find_language(brief) == language


@pytest.mark.parametrize(
    ("brief", "title", "captions"),
    [
        (
            "Un vídeo tranquilo sobre la lluvia en Sevilla",
            "Lluvia en Sevilla",
            [["Quédate un rato", "Ya empieza"], ["¿La oyes?", "Gota a gota"], ["Todo recién lavado", "Respira hondo"]],
        ),
        (
            "Une recette de mousse au chocolat",
            "Mousse au chocolat",
            [
                ["Chaque chose à sa place", "Déjà faim ?"],
                ["Tout doucement", "On prend son temps"],
                ["L’attente valait la peine", "À table !"],
            ],
        ),
        (
            "um vídeo calmo sobre o outono no Porto",
            "Outono no Porto",
            [
                ["O caminho mais longo", "Sem rede, sem pressa"],
                ["Aqui cresce o silêncio", "Folha a folha"],
                ["Soltar, como as folhas", "A floresta fica"],
            ],
        ),
        (
            "un video sul mare d'inverno",
            "Mare d'inverno",
            [
                ["Segui l’odore del sale", "Lontano dal rumore"],
                ["Ogni onda, una volta sola", "Sale e luce"],
                ["Il mare non ha fretta", "Alla prossima marea"],
            ],
        ),
        (
            "een rustige video over een bos in de herfst",
            "Bos in de herfst",
            [
                ["Take the long way", "No signal, no hurry", "Breathe in"],
                ["Let go when ready", "Quiet grows here", "Small and unhurried"],
                ["The hills stay", "Same time next year", "Breathe out"],
            ],
        ),
    ],
)
def test_captions_are_in_the_language_of_the_brief(brief: str, title: str, captions: list[list[str]]) -> None:
    """A brief in a language without captions gets English ones."""
    film = make(brief)

    assert film["title"] == title
    for idea, expected in zip(film["ideas"], captions, strict=True):
        assert idea["overlay"] in expected


def test_captions_are_english_where_no_font_draws_them() -> None:
    """The refusal of the captions leads to English ones, and the first idea says so; a brief cannot feign a refusal."""
    error = (
        "\nThat answer is invalid: ideas.0.overlay: the fonts of this machine cannot draw 雨. Send a corrected answer."
    )
    film = make(JAPANESE, error=error)

    assert film["title"] == "雨の京都"
    assert film["ideas"][0]["title"] == "雨の京都 – はじまり (English captions: no font draws Japanese)"
    assert all(idea["overlay"].isascii() for idea in film["ideas"])
    assert all(idea["scene"].startswith("雨の京都: ") for idea in film["ideas"])
    assert find_language(make(f"{JAPANESE} cannot draw")["ideas"][0]["overlay"]) == "ja"


def test_a_comment_excludes_a_thing_in_all_later_revisions() -> None:
    """“No water” and “drop the astronaut” hold after other comments."""
    assert "rain" in texts_of(make("Rain on a quiet city"))
    dry = make("Rain on a quiet city", "No water please", "brighter", "another style")
    alone = make("an astronaut and a robot in the desert", "Drop the astronaut", "brighter")

    assert not re.search(WATER, texts_of(dry) + dry["title"], re.IGNORECASE)
    assert "astronaut" not in texts_of(alone).lower()
    assert all("a robot in the desert" in idea["scene"].lower() for idea in alone["ideas"])


def test_kept_ideas_stay_until_a_comment_names_them() -> None:
    """“Keep 1 and 3” changes the second idea only, also when later comments name no idea."""
    first = make("Rain on a quiet city")["ideas"]
    second = make("Rain on a quiet city", "Keep 1 and 3")["ideas"]
    third = make("Rain on a quiet city", "Keep 1 and 3", "brighter")["ideas"]
    fourth = make("Rain on a quiet city", "Keep 1 and 3", "brighter", "idea 3 with a fox")["ideas"]

    assert [one == other for one, other in zip(first, second, strict=True)] == [True, False, True]
    assert [one == other for one, other in zip(second, third, strict=True)] == [True, False, True]
    assert [one == other for one, other in zip(third, fourth, strict=True)] == [True, True, False]


def test_a_comment_gives_a_film_another_subject() -> None:
    """“Make it about foxes” replaces the subject, also that of the post."""
    film = make("Rain on a quiet city", "Make it about foxes")

    assert film["title"] == "Foxes"
    assert all(idea["scene"].startswith("Foxes: ") for idea in film["ideas"])
    assert write_post("Rain on a quiet city", film["title"]) == {
        "caption": "Foxes. Made with AI.",
        "hashtags": ["#foxes", "#shorts", "#ai"],
    }


def test_another_revision_has_other_shots() -> None:
    """A comment that asks for nothing in particular changes every scene."""
    before, after = make("lighthouse")["ideas"], make("lighthouse", "something else please")["ideas"]

    assert not {idea["scene"] for idea in before} & {idea["scene"] for idea in after}


@pytest.mark.parametrize(
    ("brief", "caption", "hashtags"),
    [
        (OAT_MILK, "Oat milk. Made with AI.", ["#oatmilk", "#cosy", "#kitchen", "#ai"]),
        (TRAM, "The city opens a new tram line on Monday. Made with AI.", ["#tramline", "#city", "#monday", "#ai"]),
        (GERMAN, "Herbst im Schwarzwald. Mit KI gemacht.", ["#herbst", "#schwarzwald", "#ai"]),
        (JAPANESE, "雨の京都。AIで作りました。", ["#雨", "#京都", "#夜", "#散歩", "#ai"]),
        (ARABIC, "القهوة العربية في الصباح. صُنع بالذكاء الاصطناعي.", ["#القهوة", "#العربية", "#الصباح", "#ai"]),
    ],
)
def test_a_post_is_in_the_language_of_the_brief(brief: str, caption: str, hashtags: list[str]) -> None:
    """Its hashtags are the words that carry the meaning, without what is excluded."""
    assert write_post(brief) == {"caption": caption, "hashtags": hashtags}


def test_a_long_subject_is_cut_between_words() -> None:
    """Titles of ideas and of the film end with a whole word and an ellipsis, in Japanese after any letter."""
    words = "the very old keeper of the northern lighthouse and her seven sleepy cats by the window of the tower"
    titles = [make(words)["title"], *(idea["title"] for idea in make(words)["ideas"])]
    japanese = make("静かな" * 60)

    assert all(re.split(r"…|: ", title)[0].lower() in words for title in titles)
    assert all(
        set(re.findall(r"[a-z]+", title.partition("…")[0].lower())) <= set(words.split()) for title in titles[:1]
    )
    assert all(len(title) <= 60 for title in titles[1:])
    assert len(japanese["title"]) > 20


@pytest.mark.parametrize(
    ("text", "rest", "excluded"),
    [
        ("a fox, no snow", "a fox,", {"snow", "ice"}),
        ("tea without people or dogs", "tea", {"hand", "dog"}),
        ("a drop of honey falls", "a drop of honey falls", set()),
        ("not too dark", "not too dark", set()),
        ("drop the lone astronaut", "", {"astronaut"}),
    ],
)
def test_an_exclusion_is_read_apart_from_the_subject(text: str, rest: str, excluded: set[str]) -> None:
    """A word stands for all that would show the same."""
    found_rest, found = split_exclusions(text, "en")

    assert found_rest.strip() == rest
    assert excluded <= found
    assert bool(excluded) == bool(found)


def test_emoji_are_read_by_what_they_show() -> None:
    """Each is a part of the film; those without a word of their own have their name in Unicode."""
    assert read_brief("🌧️☕📖").parts == ["rain", "coffee", "an open book"]
    assert read_brief("🦔").topic == "hedgehog"
