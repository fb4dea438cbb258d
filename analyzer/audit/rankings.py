"""What people call the orders in which units are removed, by what the units were ranked by."""

from dataclasses import dataclass

__all__ = ["RankingWords", "words_for"]


@dataclass(frozen=True, slots=True)
class RankingWords:
    """One ranking in words."""

    most: str  # the units at its head
    least: str  # those at its foot
    order: str  # "removed, for each class …"
    meaning: str  # how it is made, per class


_WORDS = {
    "l1": RankingWords(
        most="most active",
        least="least active",
        order="in the order of how strongly that class excites them",
        meaning="by the mean, over its training samples, of the sum of the absolute values of the "
        "unit's map.",
    ),
    "selectivity": RankingWords(
        most="most selective",
        least="least selective",
        order="in the order of how much more that class excites them than the others do",
        meaning="by class selectivity, (a − b) / (a + b): a is the unit's mean activity over the "
        "class's training samples, b the mean of that over the other classes. The method itself "
        "ranks by a alone.",
    ),
    "random": RankingWords(
        most="first drawn",
        least="last drawn",
        order="in an order drawn at random",
        meaning="drawn at random, as a control: what ζ and κ say under it, they owe nothing to the "
        "activity of the units, by which the method ranks.",
    ),
}


def words_for(rank: str) -> RankingWords:
    """The words for a ranking; one that this version does not know goes by its name."""
    return _WORDS.get(rank) or RankingWords(
        most="highest ranked",
        least="lowest ranked",
        order=f"ranked by {rank}",
        meaning=f"by {rank}.",
    )
