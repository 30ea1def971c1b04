"""The words people use for each style, and the words around them."""

from __future__ import annotations

from typing import NamedTuple


class Words(NamedTuple):
    """What names one style."""

    train: tuple[str, ...]
    """Phrases seen in training."""
    held_out: tuple[str, ...]
    """Phrases never seen in training; they share words or parts of words with seen ones."""


def _list(text: str) -> tuple[str, ...]:
    return tuple(text.split("; "))


WORDS: dict[str, Words] = {
    "watercolor": Words(
        _list(
            "watercolor; watercolour; watercolor painting; a watercolour painting; "
            "watercolors on paper; aquarelle; aquarelle painting; soft washes of watercolour; "
            "pale wet paint on paper; delicate watercolor washes; painted with a wet brush; "
            "diluted pigments on cold-pressed paper; loose watercolour illustration; "
            "pastel watercolor wash; gouache and watercolour; water colour; soft painterly wash; "
            "painting"
        ),
        _list(
            "watercolored paper; an aquarelle wash; soft watercolours; watery paint washes; "
            "wet watercolour brush painting"
        ),
    ),
    "pencil": Words(
        _list(
            "pencil sketch; pencil drawing; a pencil sketch on white paper; graphite drawing; "
            "graphite pencil; hand drawn sketch; sketched in pencil; "
            "black and white line drawing; drawing on white paper; sketchbook page; "
            "hatched pencil shading; cross-hatching; charcoal sketch; rough pencil lines; "
            "sketch; drawn with a pencil; lead pencil on paper; doodle"
        ),
        _list(
            "pencilled sketches; graphite sketch, hatching; sketchy pencil linework; "
            "a drawn sketchbook drawing; hatched graphite lines"
        ),
    ),
    "neon": Words(
        _list(
            "neon; neon lights; neon outlines; glowing neon tubes; neon sign; "
            "glowing edges on black; cyberpunk neon; tron; tron lines; fluorescent glow; "
            "luminous outlines in the dark; electric glowing lines; blacklight; laser lines; "
            "glow in the dark; rave lights; neon glow; light tubes on black"
        ),
        _list(
            "neon-lit outlines; glowing fluorescent tubes; electric neon signs; "
            "luminous neon edges; cyberpunk glow"
        ),
    ),
    "comic": Words(
        _list(
            "comic; comic book; comic style; cartoon; toon; toon shading; cel shaded; "
            "cel-shaded animation; comic book with black outlines; graphic novel; "
            "cartoon with bold ink outlines; flat colours and thick outlines; anime; "
            "animated cartoon; manga in colour; bande dessinee; saturday morning cartoon; "
            "superhero comic"
        ),
        _list(
            "comics page; cartoonish, outlined; toon-shaded cartoon; animated comic; "
            "cel shading, bold outlines"
        ),
    ),
    "mosaic": Words(
        _list(
            "mosaic; pixel mosaic; tile mosaic; mosaic tiles; roman mosaic; pixel art; "
            "pixelated; 8-bit; 8 bit video game; big pixels; made of small square tiles; "
            "ceramic tiles; blocky pixels; byzantine mosaic; low resolution pixels; tiled; "
            "retro pixel game; squares"
        ),
        _list(
            "mosaics of tile; pixelated squares; tiled ceramic mosaic; 8-bit pixels; "
            "a blocky tile picture"
        ),
    ),
    "noir": Words(
        _list(
            "noir; film noir; black and white; black-and-white film; "
            "high contrast black and white; monochrome; monochrome photograph; noir movie still; "
            "1940s detective film; dramatic black and white photography; greyscale; grayscale; "
            "silver gelatin print; old black and white movie; german expressionist cinema; "
            "hard shadows, black and white; desaturated noir; b&w"
        ),
        _list(
            "noir film, monochromatic; grayscale noir; black and white detective movie; "
            "monochrome movie photography; a black-and-white noir still"
        ),
    ),
    "sepia": Words(
        _list(
            "sepia; sepia photograph; sepia tone; sepia toned photo; old brown photograph; "
            "vintage photograph; antique photo; daguerreotype; faded brown vintage print; "
            "victorian photograph; western wanted photo; old-time photo; brown tinted; "
            "nostalgic sepia; aged photograph; 19th century photography; warm brown monotone; "
            "tintype"
        ),
        _list(
            "sepia-tinted vintage photo; antique brown photograph; aged sepia print; "
            "vintage victorian photography; a sepias photograph"
        ),
    ),
    "thermal": Words(
        _list(
            "thermal; thermal camera; thermal vision; thermal imaging; heat map; heatmap; "
            "infrared camera; infrared heat; predator vision; false colour heat camera; "
            "thermography; thermographic image; flir; heat signature; "
            "body heat seen in infrared; rainbow heat palette; false color; temperature map"
        ),
        _list(
            "thermal infrared; heat vision camera; thermograph heat map; infrared thermography; "
            "a thermally imaged picture"
        ),
    ),
    "blueprint": Words(
        _list(
            "blueprint; blueprint drawing; white lines on blue; white lines on blue paper; "
            "cyanotype; architectural blueprint; technical drawing on blue paper; "
            "engineering drawing; drafting plan; architect's plan; schematic; "
            "technical schematic; blue print; construction plan; patent drawing in blue; "
            "white on blue line art; cad drawing; engineer's blueprint"
        ),
        _list(
            "blueprints, technical; architectural schematic; engineering blueprint plan; "
            "white technical lines on blue; drafted blueprint"
        ),
    ),
    "gold": Words(
        _list(
            "gold; golden; polished gold; made of gold; gold statue; golden metal; solid gold; "
            "gold leaf; gilded; gilded statue; shiny gold metal; brass; cast in bronze and gold; "
            "liquid gold; 24 carat gold; molten gold; metallic gold; golden sculpture"
        ),
        _list(
            "golden gilding; a gold sculpture, polished; gilded gold metal; golden leaf statue; "
            "shining golden metal"
        ),
    ),
    "night": Words(
        _list(
            "night; moonlight; moonlit night; at night under the moon; night time; midnight; "
            "midnight blue; dark blue night; moonlit; day for night; blue hour; deep night; "
            "under a full moon; nocturne; nightfall; in the dark of night; blue moonlight; "
            "dim blue night scene"
        ),
        _list(
            "moonlit midnight; nocturnal blue night; nighttime moonlight; "
            "under the midnight moon; dark night, moonlit"
        ),
    ),
    "vaporwave": Words(
        _list(
            "vaporwave; vapourwave; synthwave; vaporwave aesthetic; pink and cyan; retrowave; "
            "80s pink and cyan; outrun; pink and purple gradient; miami vice colours; "
            "magenta and cyan duotone; retro 80s aesthetic; pastel pink and turquoise; "
            "purple haze; lofi vaporwave; dreamy pink and blue; aesthetic 1980s; "
            "cotton candy colours"
        ),
        _list(
            "vaporwaves, pink; synthwave aesthetic; cyan and pink retrowave; "
            "an 80s synthwave gradient; vaporwave pink and turquoise"
        ),
    ),
    "fire": Words(
        _list(
            "fire; fire and lava; lava; on fire; burning; flames; made of flames; molten lava; "
            "volcano; volcanic eruption; burning embers; inferno; hell fire; red hot; magma; "
            "glowing embers; blazing fire; hot orange flames"
        ),
        _list(
            "fiery lava; flaming inferno; burning magma; volcanic lava flames; "
            "a blazing, burning fire"
        ),
    ),
    "matrix": Words(
        _list(
            "matrix; the matrix; green matrix; green matrix terminal; hacker terminal; "
            "green phosphor screen; green crt monitor; night vision; night vision goggles; "
            "old green monitor; computer terminal; green scan lines; emerald green; "
            "hacker screen; green on black; digital green code; crt scanlines; phosphor green"
        ),
        _list(
            "matrix terminal screen; green phosphor scanlines; green hacker matrix; "
            "green computer monitor; emerald matrix code"
        ),
    ),
    "popart": Words(
        _list(
            "pop art; pop-art; pop art print; andy warhol; warhol screen print; "
            "roy lichtenstein; halftone; halftone dots; ben-day dots; "
            "screen print in red and yellow; silkscreen; red dots on yellow; "
            "sixties pop art poster; popart; halftone poster; dotted screenprint; risograph; "
            "bright yellow poster"
        ),
        _list(
            "popart halftone; warhol pop art; lichtenstein dots; screenprinted pop poster; "
            "a pop-art silkscreen print"
        ),
    ),
    "woodcut": Words(
        _list(
            "woodcut; woodcut print; linocut; lino print; wood engraving; wood block print; "
            "woodblock; ink print; carved block print; medieval woodcut; "
            "black ink on cream paper; stencil; engraving; old engraving; block printed; "
            "relief print; letterpress ink; etching"
        ),
        _list(
            "woodcuts in ink; engraved wood block; linocut relief print; "
            "carved woodblock engraving; a medieval block engraving"
        ),
    ),
}

UNSTYLED_TRAIN = _list(
    "; ; ; photo; a photo; realistic; photorealistic; natural; video; no style; normal; "
    "original colours; unchanged; plain photograph; as it is; raw footage"
)
UNSTYLED_HELD_OUT = _list("natural photo; realistic video; original, unchanged; raw video")
SUBJECTS_TRAIN = _list(
    "a person; a man; a woman; a face; a portrait; a dancer; a dancer in the rain; "
    "a singer on stage; a band; people; a crowd; a city; a street; a skyline; a landscape; "
    "mountains; a forest; the sea; a room; a cat; a dog; a horse; flowers; a car; hands; "
    "a guitar player; my webcam; a scene; everything; the world; shapes; a talking head"
)
SUBJECTS_HELD_OUT = _list(
    "a drummer; an old house; a bicycle; a child; a bridge; birds; a DJ; a kitchen; clouds; "
    "a market; two friends; a statue in a park"
)
TEMPLATES_TRAIN = _list(
    "{style}; {style}; {style}; {style}; {subject}, {style}; {style}, {subject}; "
    "{subject} as {style}; {style} of {subject}; {subject} in the style of {style}; "
    "{style} style; in {style} style; make it {style}; turn it into {style}; {subject} {style}; "
    "{extra}, {style}; {style}, {extra}; {style}, {extra}, {subject}; "
    "{subject}, {style}, {extra}; please {style}; I want {style}; {style} look; "
    "a video of {subject}, {style}; {style} and {style2}; {style}, {style2}; "
    "{style}, {style2}, {extra}; {subject}, {style}, {style2}"
)
TEMPLATES_HELD_OUT = _list(
    "{style} picture of {subject}; {subject} seen as {style}; show {subject}, {style}, {extra}; "
    "{extra} {style} with {subject}; could you do {style} now; {style} version; "
    "render {subject} as {style}; {subject}: {style}; everything becomes {style}; "
    "give me {style} with {subject}"
)
EXTRAS_TRAIN = _list(
    "beautiful; detailed; highly detailed; masterpiece; 4k; high quality; best quality; "
    "cinematic; dramatic; very; amazing; clean; simple; live; moving; intense; elegant; "
    "trending; smooth; sharp"
)
EXTRAS_HELD_OUT = _list("gorgeous; ultra detailed; 8k; stunning; artistic; subtle; rich")
