"""Themes: the things, places, lights and sounds of generated scenes, selected by keywords of the brief."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Theme:
    """Word lists of one theme. Eight things and seven places form pairs that repeat only after 56 scenes."""

    keywords: frozenset[str]
    things: tuple[str, ...]
    places: tuple[str, ...]
    lights: tuple[str, ...]
    sounds: tuple[str, ...]
    captions: tuple[str, ...]


def _theme(keywords: str, things: str, places: str, lights: str, sounds: str, captions: str) -> Theme:
    def split(text: str) -> tuple[str, ...]:
        return tuple(" ".join(part.split()) for part in text.split("|"))

    words = (split(text) for text in (things, places, lights, sounds, captions))
    return Theme(frozenset(keywords.split()), *words)


RAIN = _theme(
    "rain rainy raining storm umbrella puddle puddles drizzle thunder",
    """a red umbrella|a row of bicycles|a window full of drops|a puddle with a lamp in it|a paper boat|a tin roof
    |a cat under an awning|a dripping fern""",
    """at the end of a narrow lane|beside an old tram stop|under a bridge|before a closed flower shop
    |on a wet stone stair|next to a river wall|in a small courtyard""",
    "with soft grey daylight|with lamps doubled in the wet ground|with a last blue hour glow",
    "Steady rain on leaves, one drop close by.|Rain on a tin roof, water in a gutter.|Drops on glass, far thunder.",
    "Stay for the rain|Listen closely|Let it pour|Wet streets, warm light|One drop at a time|The sky lets go",
)
OCEAN = _theme(
    "ocean sea beach wave waves surf surfing coast island harbour harbor boat whale fish",
    """a small sailing boat|a wave that curls like glass|a heron|a lighthouse|a shell full of light|a school of fish
    |a rope on a wooden pier|a tide pool""",
    """off a rocky coast|along a white beach|by an empty harbour|at the mouth of a cave|beside a stone breakwater
    |over a kelp forest|where the river meets the sea""",
    "with low golden sun on the water|with silver morning haze|with a deep turquoise glow",
    "Slow waves, pebbles rolling back.|Wind over open water, a far gull.|Water lapping at wood.",
    "Breathe with the tide|The sea keeps time|Salt and light|Out past the noise|Every wave, once|Go slowly",
)
FOREST = _theme(
    "forest wood woods tree trees jungle moss fern garden leaf leaves nature mushroom mushrooms fox deer",
    """a fern that opens|a fox between birches|a mossy stone|a ring of mushrooms|a fallen trunk
    |a spider's thread with dew|a young deer|a spring of clear water""",
    """deep under old oaks|on a path of needles|at the edge of a clearing|beside a slow stream|in a hollow full of mist
    |under a canopy of beech|on a steep green slope""",
    "with sunbeams through the mist|with green shade and a few bright spots|with early light between the trunks",
    "Leaves in a light wind, one bird.|A stream over stones.|Soft steps on moss, a far woodpecker.",
    "Where it is green|Walk softly|Older than names|Quiet grows here|Follow the path|Breathe in",
)
CITY = _theme(
    "city street streets urban town neon tokyo traffic skyline building buildings train subway metro cafe",
    """a tram with lit windows|a stack of neon signs|a lone cyclist|a food stall in steam|a stairway between houses
    |a rooftop garden|a glass tower|a crossing full of umbrellas""",
    """on a broad avenue|in a narrow side street|over a busy crossing|by the canal|above the rooftops
    |under an elevated line|at the corner of an old square""",
    "with neon in every window|with warm shop light on the pavement|with the last sun between the towers",
    "A tram bell, tyres on wet stone.|A far crowd, a kettle on a stall.|Trains overhead, then quiet.",
    "The city exhales|One more corner|Lights on|Somebody's window|Between two trains|Small hours",
)
NIGHT = _theme(
    "night midnight evening dusk moon moonlight dark lamp lantern candle candles dream dreams sleep",
    """a paper lantern|a window with one candle|a moth near a lamp|a moon in a bowl of water|a sleeping house
    |a train far away|a hand closing a book|a jar of fireflies""",
    """at the end of a garden|on a quiet hill|beside a still lake|in an empty street|under a wide veranda
    |on a wooden jetty|in a room with the window open""",
    "with pale moonlight|with one warm lamp|with the blue of the last hour",
    "Crickets, a soft wind.|A clock in another room.|A far train, then night insects.",
    "Goodnight, world|The quiet part|Lights out|Stay a moment|Almost asleep|The moon is up",
)
FIRE = _theme(
    "fire flame flames ember embers campfire lava volcano burning forge smoke",
    """a ring of embers|a kettle over the flames|a spark that rises|a blacksmith's anvil|a stack of birch logs
    |a river of lava|a hand with a match|a clay oven""",
    """on a dark beach|in a stone hearth|at a camp between pines|in an old forge|on a high ridge|by a frozen lake
    |in the middle of a courtyard""",
    "with orange light on every edge|with sparks against the dark|with a deep red glow",
    "Crackling wood, a slow hiss.|A deep roar, sparks snapping.|Embers settling, wind far off.",
    "Keep warm|Watch it glow|Sparks fly up|Older than words|One more log|Gather round",
)
DESERT = _theme(
    "desert dune dunes sand canyon cactus camel mars oasis",
    """a line of footprints|a lone astronaut|a small camel caravan|a flowering cactus|a glass sphere half in the sand
    |a dry riverbed|a lizard on a warm stone|a kite""",
    """on the crest of a dune|in a red canyon|beside a forgotten well|on a cracked salt flat|below a rock arch
    |at the edge of an oasis|between two ridges""",
    "with low sun and long shadows|with shimmering heat|with rose light after sunset",
    "Wind over sand, nothing else.|Sand sliding down a slope.|A far bell, slow steps.",
    "Wide and silent|The wind writes|Walk on|Only sky|Grain by grain|After the heat",
)
SNOW = _theme(
    "snow snowy winter ice icy frost frozen glacier arctic mountain mountains ski aurora",
    """a red scarf on a branch|a frozen waterfall|a hare in its winter coat|a cabin with one lit window
    |a crystal of ice|a sledge track|a pine under heavy snow|a lake of black ice""",
    """on a white hillside|deep in a silent valley|beside a frozen stream|at the foot of a glacier|on a high pass
    |between dark firs|before an old barn""",
    "with pale blue light|with slow flakes in a lamp's light|with green aurora above",
    "Snow falling, almost nothing.|Ice ticking and singing.|Steps in deep snow, a far wind.",
    "Hush|The first snow|Cold and clear|Everything waits|Soft as quiet|Winter holds",
)
SPACE = _theme(
    "space star stars planet planets galaxy cosmos cosmic astronaut moonbase rocket nebula zodiac universe",
    """a small glass planet|a drifting astronaut|a comet with a long tail|a garden under a dome|a ring of ice
    |a paper rocket|a lighthouse for ships of light|a clock with two moons""",
    """above a blue world|in the arms of a nebula|at the edge of a ringed planet|on a silver moon|between two suns
    |inside a quiet station|over an ocean of clouds""",
    "with starlight from behind|with a violet glow|with the first sun over the rim",
    "A deep, soft hum.|Slow breath in a helmet.|Chimes very far away.",
    "So far, so calm|No up, no down|Hello out there|Light, years old|Drift|A quiet orbit",
)
FOOD = _theme(
    "food coffee tea bread cake cook cooking kitchen chocolate honey fruit baker bakery soup noodles breakfast",
    """a loaf that is cut slowly|a spoon of honey|a cup of coffee in the steam|a bowl of dark berries
    |noodles lifted from a pan|a square of chocolate that melts|a peeled orange|a pot of soup""",
    """on a floured table|by a kitchen window|on a marble counter|in a small bakery|on a worn wooden board
    |at a night stall|on a linen cloth""",
    "with soft window light|with steam in the morning sun|with one warm lamp above",
    "A crust that cracks, a slow pour.|Butter in a hot pan.|A spoon against porcelain.",
    "Slow is delicious|Still warm|One more bite|Smell that|Made by hand|Breakfast can wait",
)
CAT = _theme(
    "cat cats kitten kittens dog dogs puppy pet pets",
    """a ginger cat|a kitten with a ball of wool|a cat's paw in the sun|a sleeping dog|two tails on a wall
    |a cat on a surfboard|a curious nose|a basket full of kittens""",
    """on a windowsill|on a warm roof|beside a bowl of milk|in an open suitcase|on an old piano|under a garden chair
    |at the top of the stairs""",
    "with a stripe of sun|with dust dancing in the light|with soft afternoon shade",
    "Purring, close.|Small steps on wood.|A bell on a collar, then purring.",
    "Important work|Do not disturb|Nine calm lives|Boss of the house|Just five minutes|Soft paws",
)
FALLBACK_THEME = _theme(
    "",
    """a glass sphere|a ribbon of silk|a paper crane|a bowl of still water|a wooden door left ajar
    |a swing that still moves|a single feather|a table with one chair""",
    """in a wide empty room|on a hill above a valley|beside a tall window|on a path of white stones|by a quiet lake
    |under an old tree|on a long pier""",
    "with soft natural light|with low warm sun|with gentle shade and one bright edge",
    "A soft room tone, one close detail.|Light wind, cloth moving.|A slow chime, then quiet.",
    "Take a moment|Look closer|Almost silent|Let it go|Begin here|Small wonders",
)

THEMES = (CAT, RAIN, OCEAN, FOREST, FIRE, DESERT, SNOW, SPACE, FOOD, CITY, NIGHT)

CAMERAS = (
    "The camera glides forward, slow and steady",
    "The camera holds still while the light moves",
    "A slow arc from left to right, shallow focus",
    "The camera rises gently and ends in the sky",
    "A macro lens drifts along the surface",
    "The camera follows at walking pace",
)


def find_theme(words: list[str]) -> Theme | None:
    """Return the theme of the first word that is a keyword of a theme, or None."""
    return next((theme for word in words for theme in THEMES if word in theme.keywords), None)
