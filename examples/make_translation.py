"""Write the example's English-German sentences: `python examples/make_translation.py`.

The sentences are made by a small grammar, with the cases and verb forms of each language. No
sentence of one file is in another, and the files are the same each time.
"""

import itertools
import json
import random
from pathlib import Path

SYSTEM = "Translate into German."
# English, German, and the number of the verb form.
SUBJECTS = [
    ("I", "Ich", 0),
    ("My sister", "Meine Schwester", 1),
    ("The teacher", "Der Lehrer", 1),
    ("Our neighbour", "Unser Nachbar", 1),
    ("The old man", "Der alte Mann", 1),
    ("We", "Wir", 2),
    ("The children", "Die Kinder", 2),
    ("Her friends", "Ihre Freunde", 2),
]
# English for "I", English for "she", and German for "ich", "sie" and "wir".
VERBS = [
    ("buy", "buys", "kaufe", "kauft", "kaufen"),
    ("look for", "looks for", "suche", "sucht", "suchen"),
    ("sell", "sells", "verkaufe", "verkauft", "verkaufen"),
    ("need", "needs", "brauche", "braucht", "brauchen"),
    ("see", "sees", "sehe", "sieht", "sehen"),
    ("repair", "repairs", "repariere", "repariert", "reparieren"),
    ("paint", "paints", "male", "malt", "malen"),
    ("find", "finds", "finde", "findet", "finden"),
]
OBJECTS = [
    ("an old bicycle", "ein altes Fahrrad"),
    ("the red lamp", "die rote Lampe"),
    ("a new chair", "einen neuen Stuhl"),
    ("two boats", "zwei Boote"),
    ("the small table", "den kleinen Tisch"),
    ("a good clock", "eine gute Uhr"),
    ("the green door", "die grüne Tür"),
    ("many boxes", "viele Kisten"),
    ("a heavy basket", "einen schweren Korb"),
]
PLACES = [
    ("at the market", "auf dem Markt"),
    ("in the city", "in der Stadt"),
    ("at the station", "am Bahnhof"),
    ("in the garden", "im Garten"),
    ("near the river", "am Fluss"),
    ("behind the house", "hinter dem Haus"),
]
TIMES = [
    ("today", "heute"),
    ("every morning", "jeden Morgen"),
    ("on Monday", "am Montag"),
    ("this week", "diese Woche"),
    ("in the evening", "am Abend"),
    ("after lunch", "nach dem Mittagessen"),
]
SIZES = {"train": 300, "valid": 40, "test": 60}


def write_pairs() -> list[tuple[str, str]]:
    """All sentences of the grammar, in a fixed random order."""
    pairs = []
    for subject, verb, thing, place, time in itertools.product(
        SUBJECTS, VERBS, OBJECTS, PLACES, TIMES
    ):
        number = subject[2]
        english = f"{subject[0]} {verb[number == 1]} {thing[0]} {place[0]} {time[0]}."
        german = f"{subject[1]} {verb[2 + number]} {time[1]} {place[1]} {thing[1]}."
        pairs.append((english, german))
    random.Random(7).shuffle(pairs)
    return pairs


def main() -> None:
    pairs = iter(write_pairs())
    for name, size in SIZES.items():
        path = Path(__file__).with_name(f"translation.{name}.jsonl")
        with path.open("w", encoding="utf-8") as file:
            for english, german in itertools.islice(pairs, size):
                messages = [
                    {"role": "system", "content": SYSTEM},
                    {"role": "user", "content": english},
                    {"role": "assistant", "content": german},
                ]
                file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
