"""Plots as SVG, by hand: three kinds, on white, readable on a dark page too."""

import math, statistics
from html import escape

WIDTH, LEFT, RIGHT, TOP = 760, 230, 90, 50
BLUE, RED, GREY = "#2b6cb0", "#c53030", "#888"


def text(x, y, words, anchor="start", size=13, fill="#222"):
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}">{escape(words)}</text>'
    )


def stroke(x1, y1, x2, y2, colour=GREY, width=1):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def dot(x, y, colour):
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'


def page(title, height, parts):
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" role="img" '
        f'aria-label="{escape(title)}">\n<rect width="{WIDTH}" height="{height}" fill="#fff"/>'
    )
    return "\n".join([head, text(20, 28, title, size=16), *parts, "</svg>\n"])


def bars(title, curve):
    """A bar for each thing: its median, and a thin line from the least to the most."""
    values = {name: statistics.median(rounds) for name, rounds in curve.items()}
    scale = (WIDTH - LEFT - RIGHT) / max(max(rounds) for rounds in curve.values())
    parts, y = [], TOP
    for name, value in values.items():
        parts += [
            text(LEFT - 8, y + 14, name, "end"),
            f'<rect x="{LEFT}" y="{y}" width="{max(1, value * scale):.1f}" height="18" fill="{BLUE}"/>',
            stroke(LEFT + min(curve[name]) * scale, y + 9, LEFT + max(curve[name]) * scale, y + 9, "#000"),
            text(LEFT + max(curve[name]) * scale + 8, y + 14, f"{value:,.0f}"),
        ]
        y += 26
    return page(title, y + 14, parts)


def axes(height, ticks, place, unit):
    parts = []
    for tick in ticks:
        y = place(tick)
        parts += [stroke(80, y, WIDTH - 40, y, "#ddd"), text(72, y + 4, f"{tick:g} {unit}", "end", 12)]
    return [*parts, stroke(80, TOP, 80, height - 50), stroke(80, height - 50, WIDTH - 40, height - 50)]


def along(count):
    """Where `count` things stand on the axis below."""
    return [80 + (WIDTH - 120) * (i + 0.5) / count for i in range(count)]


def percentiles(title, curve):
    """A line for each kind of run, over the share of requests that were answered by then; milliseconds, logarithmic."""
    height, names = 380, {"p50": "half", "p90": "90 %", "p99": "99 %", "p99.9": "99.9 %", "most": "slowest"}
    values = [value for points in curve.values() for value in points.values()]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))

    def place(value):
        return height - 50 - (math.log10(value) - low) / max(1, high - low) * (height - 50 - TOP)

    parts = axes(height, [10.0**power for power in range(low, high + 1)], place, "ms")
    xs = along(len(names))
    parts += [text(x, height - 28, name, "middle") for x, name in zip(xs, names.values())]
    for colour, (kind, points) in zip((BLUE, RED), curve.items()):
        ys = [place(points[name]) for name in names]
        parts += [stroke(*a, *b, colour, 2) for a, b in zip(zip(xs, ys), zip(xs[1:], ys[1:]))]
        parts += [dot(x, y, colour) for x, y in zip(xs, ys)]
        parts += [
            text(
                x + 8,
                y + 16,
                f"{points[name]:.2g}" if points[name] < 10 else f"{points[name]:.0f}",
                size=12,
                fill=colour,
            )
            for x, y, name in zip(xs, ys, names)
        ]
        parts.append(text(100, TOP + 16 + 20 * (colour == RED), kind, fill=colour))
    return page(title, height, parts)


def growth(title, curve):
    """Microseconds over the number of tokens, from none; the least and the most of the rounds as a line."""
    height = 340
    top = max(max(rounds) for rounds in curve.values())
    step = 10 ** math.floor(math.log10(top))
    step = step if top / step >= 3 else step / 5 if top / step < 1.5 else step / 2

    def place(value):
        return height - 50 - value / (top * 1.1) * (height - 50 - TOP)

    parts = axes(height, [step * i for i in range(int(top * 1.1 / step) + 1)], place, "µs")
    points = []
    for x, (size, rounds) in zip(along(len(curve)), curve.items()):
        middle = statistics.median(rounds)
        points.append((x, place(middle)))
        parts += [
            text(x, height - 28, f"{int(size):,}", "middle"),
            stroke(x, place(min(rounds)), x, place(max(rounds)), "#000"),
            dot(*points[-1], BLUE),
            text(x + 8, points[-1][1] - 8, f"{middle:.1f}", size=12),
        ]
    parts += [stroke(*a, *b, BLUE, 2) for a, b in zip(points, points[1:])]
    return page(title, height, parts)
