"""Rounds and what they tell: the sides of a ratio in turn, medians, and whether a bar is met."""

import math
from dataclasses import dataclass
from statistics import median


@dataclass
class Figure:
    """One line of the table. Without a value the row failed, and the detail says why. Without a bar, `met` is None."""

    what: str
    bar: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    met: bool | None = None
    detail: str = ""

    @classmethod
    def of(cls, what, bar, values, unit="", detail=""):
        """The median of the rounds, and how far they lie apart."""
        middle = median(values)
        return cls(what, bar, middle, min(values), max(values), unit, meets(bar, middle) if bar else None, detail)


def meets(bar, value):
    """Whether a value meets a bar, which is written as in the table: `≥ 0.90`, `≤ 16 MB`."""
    sign, number = bar.split()[:2]
    limit = float(number.replace(",", ""))
    return value >= limit if sign == "≥" else value <= limit


def is_sure(bar, values):
    """Whether more rounds would hardly change the verdict.

    The median of any number of further rounds lies between these two 99 times out of 100, by the order of the rounds so
    far. With fewer than eight rounds they are the least and the most of them, which is less certain.
    """
    spare = max(0, math.floor(len(values) / 2 - 1.288 * math.sqrt(len(values))))
    ordered = sorted(values)
    return not bar or meets(bar, ordered[spare]) == meets(bar, ordered[-1 - spare])


@dataclass
class Ratio:
    """A line of the table that divides one side by another, round by round."""

    what: str
    bar: str
    top: str
    bottom: str

    def values(self, took):
        return [top / bottom for top, bottom in zip(took[self.top], took[self.bottom])]

    def figure(self, took, show):
        values, detail = self.values(took), f"{show(median(took[self.top]))} ÷ {show(median(took[self.bottom]))}"
        if not is_sure(self.bar, values):
            detail += f"; too close to the bar to be sure after {len(values)} rounds"
        return Figure.of(self.what, self.bar, values, detail=detail)


def per_second(rate):
    return f"{rate / 1000:.1f} k/s" if rate >= 1000 else f"{rate:.1f}/s"


def in_turn(sides, ratios, rounds, most):
    """Runs all sides one after the other, round after round, and every second round backwards.

    Ratios that are still too close to their bars then go on by themselves, up to `most` rounds. One that was sure once
    is not measured again.
    """
    took, going = {name: [] for name in sides}, list(sides)
    for turn in range(most):
        if turn >= rounds:
            ratios = [ratio for ratio in ratios if not is_sure(ratio.bar, ratio.values(took))]
            going = [name for name in sides if any(name in (ratio.top, ratio.bottom) for ratio in ratios)]
        for name in going[:: -1 if turn % 2 else 1]:
            took[name].append(sides[name]())
    return took
