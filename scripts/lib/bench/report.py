"""The table on the terminal, and docs/benchmarks.md with its plots.

docs/benchmarks/results.json keeps the last figures of each row, so that a run of single rows renews only those.
Between its two markers the page is written by hand. The rest of it is written here.
"""

import json, time
from dataclasses import asdict

from rounds import Figure

PLOTS = {
    "throughput": ("Requests a second", "a second"),
    "storm": ("Latency of token checks, with and without a storm of logins", "ms"),
    "growth": ("Time of a cold check by the number of live tokens", "µs"),
}
BEGIN, END = "<!-- by hand -->", "<!-- /by hand -->"
PAGE = """# Benchmarks

Most figures are ratios of two things measured in turn on one machine in one run, so that they mean something on \
another machine too; each is the median of the rounds, with the least and the most of them. `scripts/bench` measures \
it all anew and writes this page.

The machine: {machine}. Server and load generator share it.

| row | what | bar | median | spread | | made of |
| --- | --- | --- | --- | --- | --- | --- |
{table}

{runs}

{plots}

{begin}{by_hand}{end}
"""


def words(figure):
    """A figure as people read it: the verdict, the median and the spread."""

    def number(value):
        return f"{value:,.{0 if value >= 1000 else 1 if value >= 100 or figure.unit else 2}f}"

    if figure.value is None:
        return "FAILED", "–", ""
    verdict = {True: "met", False: "missed", None: "no bar"}[figure.met]
    return verdict, number(figure.value) + figure.unit, f"{number(figure.low)}–{number(figure.high)}{figure.unit}"


def show(row, figure):
    """Prints a figure, with what it was made of below."""
    verdict, value, spread = words(figure)
    print(f"{verdict:7} {row:7} {figure.what.replace('`', '')}", f"{value} ({spread}) {figure.bar}", figure.detail,
          sep="\n" + 16 * " ", flush=True)


def write(docs, machine, figures, curves, order):
    """Writes the page, its plots and results.json, with the figures of each row in this order."""
    page, file = docs / "benchmarks.md", docs / "benchmarks" / "results.json"
    results = json.loads(file.read_text())
    if results["machine"] != machine["machine"]:
        # Figures of two machines in one table would mislead.
        results = {"machine": machine["machine"], "rows": {}, "curves": {}}
    when = {"date": time.strftime("%Y-%m-%d"), "countersign": machine["countersign"], "tools": machine["tools"]}
    for row in figures:
        results["rows"][row] = {**when, "figures": [asdict(figure) for figure in figures[row]]}
    results["rows"] = {row: results["rows"][row] for row in order if row in results["rows"]}
    for name, curve in curves.items():
        # A plot may come from several rows, of which only some were measured now.
        results["curves"][name] = results["curves"].get(name, {}) | curve
    file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    for name, curve in results["curves"].items():
        plot(docs / "benchmarks" / f"{name}.svg", *PLOTS[name], curve)
    page.write_text(render(results, page.read_text().partition(BEGIN)[2].partition(END)[0] or "\n"))


def render(results, by_hand):
    table, runs = [], {}
    for name, row in results["rows"].items():
        runs.setdefault((row["date"], row["countersign"], row["tools"]), []).append(f"`{name}`")
        for figure in (Figure(**figure) for figure in row["figures"]):
            verdict, value, spread = words(figure)
            verdict = f"**{verdict}**" if verdict in ("missed", "FAILED") else verdict
            cells = [f"`{name}`", figure.what, figure.bar, value, spread, verdict, figure.detail]
            table.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    runs = [f"{', '.join(names) if len(runs) > 1 else 'All of it'} measured on {date} at commit {commit}, with {tools}."
            for (date, commit, tools), names in runs.items()]
    plots = [f"![{title}](benchmarks/{name}.svg)" for name, (title, _) in PLOTS.items() if name in results["curves"]]
    return PAGE.format(machine=results["machine"], table="\n".join(table), runs="\n".join(runs),
                       plots="\n\n".join(plots), begin=BEGIN, by_hand=by_hand, end=END)


def plot(file, title, unit, curve):
    """Draws a box for each thing: median and middle half of its rounds, and a line from the least to the most."""
    import matplotlib  # Only here: it takes a second, and quick runs draw nothing.

    # Text stays text, and the same curve gives the same file.
    matplotlib.rcParams.update({"backend": "svg", "svg.fonttype": "none", "svg.hashsalt": "countersign"})
    from matplotlib import pyplot

    _, axes = pyplot.subplots(figsize=(8, 1.2 + 0.25 * len(curve)), layout="constrained")
    axes.boxplot(list(curve.values()), orientation="horizontal", tick_labels=list(curve), whis=(0, 100), widths=0.6)
    axes.set(title=title, xlim=(0, None), xlabel=unit)
    axes.invert_yaxis()
    pyplot.savefig(file, metadata={"Date": None})
