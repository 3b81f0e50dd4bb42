"""The table on the terminal, and docs/benchmarks.md with its plots.

docs/benchmarks/results.json keeps the last figures of each row, so that a run of single rows renews those alone.
Between its two markers the page is a person's; the rest is written here.
"""

import json, os, time

import plot

BEGIN, END = "<!-- by hand -->", "<!-- /by hand -->"
PLOTS = {
    "throughput": ("Requests a second", plot.bars),
    "storm": ("Latency of token checks, with and without a storm of logins", plot.percentiles),
    "growth": ("Time of a cold check by the number of live tokens", plot.growth),
}


def number(value, unit=""):
    if value is None:
        return "–"
    if value < 0.1:
        return f"{value:.2g}{unit}"
    digits = 0 if value >= 1000 else 1 if value >= 100 or unit else 2
    return f"{value:,.{digits}f}{unit}"


def spread(figure):
    low, high = (number(figure[end], figure["unit"]) for end in ("low", "high"))
    return "" if figure["value"] is None else f"{low.removesuffix(figure['unit'])}–{high}"


def verdict(figure):
    if figure["failed"]:
        return "FAILED"
    if figure["value"] is None:
        return "not measured"
    return {True: "met", False: "missed", None: "no bar"}[figure["met"]]


def heading(quick):
    title = (
        "quick: fewer and shorter rounds, smaller data"
        if quick
        else "medians, with the least and the most of the rounds"
    )
    return f"\n{title}\n"


def line(figure):
    """A line of the table on the terminal, with what it was made of below."""
    figure = figure.asdict()
    what = figure["what"].replace("`", "")
    value = f"{number(figure['value'], figure['unit'])} ({spread(figure)})" if figure["value"] is not None else ""
    lines = [f"{verdict(figure):12} {figure['row']:7} {what}", f"{value} {figure['bar']}".strip(), figure["detail"]]
    return ("\n" + 21 * " ").join(filter(None, lines))


def summary(figures, seconds):
    counts = {}
    for figure in figures:
        counts[verdict(figure.asdict())] = counts.get(verdict(figure.asdict()), 0) + 1
    return f"\n{', '.join(f'{count} {kind}' for kind, count in counts.items())}; it took {seconds / 60:.1f} minutes."


def write(docs, machine, figures, curves, order):
    """Writes the page and its plots; the rows come in this order."""
    folder, page = os.path.join(docs, "benchmarks"), os.path.join(docs, "benchmarks.md")
    os.makedirs(folder, exist_ok=True)
    results = renewed(os.path.join(folder, "results.json"), machine, figures, curves)
    for name, (title, draw) in PLOTS.items():
        if curve := results["curves"].get(name):
            with open(os.path.join(folder, name + ".svg"), "w") as svg:
                svg.write(draw(title, curve))
    results["rows"] = {row: results["rows"][row] for row in order if row in results["rows"]}
    text = render(results, kept_by_hand(page))
    with open(page, "w") as out:
        out.write(text)


def renewed(file, machine, figures, curves):
    """What was known, with what was measured now in its place; of another machine nothing is kept."""
    try:
        with open(file) as kept:
            results = json.load(kept)
    except OSError:
        results = {}
    if results.get("machine") != machine["machine"]:
        results = {"machine": machine["machine"], "rows": {}, "curves": {}}
    when = {"date": time.strftime("%Y-%m-%d"), "countersign": machine["countersign"], "tools": machine["tools"]}
    for row in dict.fromkeys(figure.row for figure in figures):
        results["rows"][row] = {**when, "figures": [figure.asdict() for figure in figures if figure.row == row]}
    for name, curve in curves.items():
        known = results["curves"].get(name, {})
        results["curves"][name] = {**known, **curve} if name == "throughput" else curve
    with open(file, "w") as out:
        json.dump(results, out, indent=1, ensure_ascii=False)
        out.write("\n")
    return results


def kept_by_hand(page):
    try:
        with open(page) as old:
            text = old.read()
    except OSError:
        return "\n"
    return text.split(BEGIN, 1)[-1].split(END, 1)[0] if BEGIN in text else "\n"


def render(results, by_hand):
    lines = [
        "# Benchmarks",
        "",
        "Most figures are ratios of two things measured in turn on one machine in one run, so that they mean something "
        "on another machine too; each is the median of the rounds, with the least and the most of them. "
        "`scripts/bench` measures it all anew and writes this page.",
        "",
        f"The machine: {results['machine']}. Server and load generator share it.",
        "",
        "| row | what | bar | median | spread | | made of |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in results["rows"].values():
        lines += [table_line(figure) for figure in row["figures"]]
    lines += ["", *when_measured(results["rows"])]
    for name, (title, _) in PLOTS.items():
        if name in results["curves"]:
            lines += ["", f"![{title}](benchmarks/{name}.svg)"]
    return "\n".join(lines) + f"\n\n{BEGIN}{by_hand}{END}\n"


def table_line(figure):
    mark = verdict(figure)
    cells = [
        f"`{figure['row']}`",
        figure["what"],
        figure["bar"],
        number(figure["value"], figure["unit"]),
        spread(figure),
        f"**{mark}**" if mark in ("missed", "FAILED") else mark,
        figure["detail"],
    ]
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def when_measured(rows):
    """Which rows were measured when, and with what."""
    runs = {}
    for name, row in rows.items():
        runs.setdefault((row["date"], row["countersign"], row["tools"]), []).append(f"`{name}`")
    for (date, commit, tools), names in runs.items():
        which = "All of it" if len(runs) == 1 else ", ".join(names)
        yield f"{which} measured on {date} at commit {commit}, with {tools}."
