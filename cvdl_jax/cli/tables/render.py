"""The results of a table as Markdown, LaTeX, CSV and plain text; each from results.json's dict alone."""

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import PurePath
from typing import Any

from cvdl_jax.core import formatting
from cvdl_jax.report import table_cells

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "±": r"$\pm$", "≈": r"$\approx$", "†": r"\dag{}", "–": r"\textendash{}", "×": r"$\times$",
    "−": "$-$", "·": r"$\cdot$", "→": r"$\to$", "←": r"$\gets$", "≤": r"$\le$", "≥": r"$\ge$", "∞": r"$\infty$",
    "∈": r"$\in$", "√": r"$\surd$", "∑": r"$\sum$", "∂": r"$\partial$", "∇": r"$\nabla$", "≠": r"$\ne$",
    "°": r"$^\circ$", "ς": r"$\varsigma$",
    "µ": r"$\mu$", "…": r"\dots{}", "—": r"\textemdash{}", "“": "``", "”": "''", "‘": "`", "’": "'", "\u00a0": "~",
    "[": "{[}", "]": "{]}",  # after the end of a line a bracket would be an option
}  # fmt: skip
GREEK = set(
    """alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi
    psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega""".split()
)
LIKE_LATIN = {  # letters that LaTeX has no command for
    "omicron": "o", "Alpha": "A", "Beta": "B", "Epsilon": "E", "Zeta": "Z", "Eta": "H", "Iota": "I", "Kappa": "K",
    "Mu": "M", "Nu": "N", "Omicron": "O", "Rho": "P", "Tau": "T", "Chi": "X",
}  # fmt: skip
AGAINST, PUBLISHED, DIFFERENCE = "against the best", "published", "difference"
RUNS = ["method", "seed", "state", "value", "interval", "selected step", "seconds", "folder"]
RUN_COLUMNS = (
    "value", "low", "high", "examples", "selected_step", "steps", "epochs", "seconds", "parameters", "macs",
)  # fmt: skip
REPEAT = "The command of a row goes on with it; with another --workdir it measures the row anew."
PROVENANCE = ["method", "hardware", "commit", "configuration", "data", "command"]


def columns(
    results: Mapping[str, Any],
    value: Callable[[int, Mapping[str, Any]], str],
    strong: Callable[[str], str] = str,
    plain: Callable[[str], str] = str,
) -> dict[str, list[str]]:
    """The columns of the main table, a cell per row; those with nothing in them are left out.

    Args:
        results: of results.json.
        value: `(index, row)` -> the cell of the value, marked up.
        strong: marks up a further metric of the row with the best one.
        plain: of the other rows.
    """
    metric, rows = results["metric"], results["rows"]
    with_recipe = {key: any(row["recipe"].get(key) for row in rows) for key in ("epochs", "steps")}
    recipes = {key: f"{key} (recipe)" if given else key for key, given in with_recipe.items()}

    def known(row: Mapping[str, Any], key: str, shown: Callable[[float], str]) -> str:
        return table_cells.known(row, None if row[key] is None else shown(row[key]))

    cells = {
        "method": [row["name"] for row in rows],
        table_cells.metric_label(metric): [value(i, row) for i, row in enumerate(rows)],
        "95 % interval": [table_cells.interval(row, metric) for row in rows],
        **{head: further(results, k, column, strong, plain) for k, head, column in table_cells.columns_of(results)},
        "runs": [table_cells.runs(row) for row in rows],
        AGAINST: [row["significance"] for row in rows],
        PUBLISHED: [table_cells.published(row, metric) for row in rows],
        DIFFERENCE: [row["comparison"] for row in rows],
        **{
            f"{PUBLISHED}: {column['label']}": [table_cells.further_published(row, k, column) for row in rows]
            for k, _, column in table_cells.columns_of(results)
        },
        "parameters": [known(row, "parameters", formatting.count) for row in rows],
        "MACs": [known(row, "macs", partial(formatting.scaled, digits=4)) for row in rows],
        **{name: [table_cells.beside(row, key) for row in rows] for key, name in recipes.items()},
        "seconds": [table_cells.seconds(row) for row in rows],
    }
    of_training = list(cells)[-5:] if table_cells.is_analysis(results) else []
    return {name: column for name, column in cells.items() if any(column) and name not in of_training}


def further(
    results: Mapping[str, Any],
    k: int,
    column: Mapping[str, Any],
    strong: Callable[[str], str],
    plain: Callable[[str], str],
) -> list[str]:
    """The cells of the k-th further metric; arguments as for `columns`."""
    best = table_cells.best(results, k)
    return [
        (strong if i in best else plain)(table_cells.further(row, k, column)) for i, row in enumerate(results["rows"])
    ]


def lines(columns: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Columns as rows."""
    return [list(row) for row in zip(*columns.values(), strict=True)]


def provenance_row(row: Mapping[str, Any]) -> list[str]:
    """Where a row comes from, below PROVENANCE."""
    return [
        row["name"], table_cells.known(row, row["hardware"]), table_cells.commit(row),
        f"{row['config']} {row['config_digest'][:8]}", table_cells.data(row), row["command"],
    ]  # fmt: skip


# Markdown -----------------------------------------------------------------------------------------------------------


def markdown(results: Mapping[str, Any]) -> str:
    """Three tables: what was measured, where it comes from, every run; with the notes that they need."""
    metric, best = results["metric"], table_cells.best(results)

    def value(i: int, row: Mapping[str, Any]) -> str:
        text = table_cells.value(row, metric)
        return (f"**{text}**" if i in best else text) + (f" {table_cells.mark(row)}" if table_cells.mark(row) else "")

    cells = columns(results, value, "**{}**".format)
    origins = [[*provenance_row(row)[:-1], f"`{row['command']}`"] for row in results["rows"]]
    runs = [run_row(row, run, metric) for row in results["rows"] for run in row["runs"]]
    parts = [
        f"# {results['title']}",
        results["caption"],
        pipes(list(cells), lines(cells)),
        "\n".join(f"- {note}" for note in [*table_cells.notes(results), REPEAT]),
        f"All of it: `{results['command']}`, written {results['generated']}.",
        "## Where the rows come from",
        pipes(PROVENANCE, origins),
        "## Runs",
        pipes(RUNS, runs),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def run_row(row: Mapping[str, Any], run: Mapping[str, Any], metric: Mapping[str, Any]) -> list[str]:
    """A run's cells, with a link to its folder, which lies beside the file."""
    folder = PurePath(run["workdir"]).name
    ends = "" if run["low"] is None else table_cells.interval(run | {"n": 1}, metric)
    return [
        row["name"], str(run["seed"]), state_text(run), table_cells.number(run["value"], metric) or "", ends,
        "" if run["selected_step"] is None else formatting.count(run["selected_step"]),
        "" if run["seconds"] is None else f"{run['seconds']:,.1f}", f"[{folder}]({folder})",
    ]  # fmt: skip


def state_text(run: Mapping[str, Any]) -> str:
    """The state of a run, with its reason or how far it is."""
    if run["state"] == "failed":
        return f"failed: {run['message']}"
    if run["state"] not in ("running", "partial"):
        return run["state"]
    of = f" of {formatting.count(run['total_steps'])}" if run["total_steps"] is not None else ""
    return f"{run['state']}, step {formatting.count(run['step'])}{of}"


def pipes(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(" ".join(c.replace("|", "\\|").split()) for c in line) + " |" for line in lines)


# LaTeX --------------------------------------------------------------------------------------------------------------


def latex(results: Mapping[str, Any]) -> str:
    """A table for a paper: `booktabs` is all it needs. Where rows come from is in comments."""
    metric, best = results["metric"], table_cells.best(results)

    def value(i: int, row: Mapping[str, Any]) -> str:
        text = escape(table_cells.value(row, metric))
        mark = table_cells.mark(row)
        return (rf"\textbf{{{text}}}" if i in best else text) + (rf"\,{escape(mark)}" if mark else "")

    cells = columns(results, value, lambda text: rf"\textbf{{{escape(text)}}}", escape)
    cells.pop(AGAINST, None)  # sentences go to the notes
    if PUBLISHED in cells:
        cells[PUBLISHED] = [table_cells.published_value(row, metric) for row in results["rows"]]
    if DIFFERENCE in cells:
        cells[DIFFERENCE] = [re.sub(r"^not comparable:.*", "not comparable", text) for text in cells[DIFFERENCE]]
    for k, _, column in table_cells.columns_of(results):
        if f"{PUBLISHED}: {column['label']}" in cells:
            entries = [row["columns"][k] for row in results["rows"]]
            cells[f"{PUBLISHED}: {column['label']}"] = [table_cells.published_value(e, column) for e in entries]
    marked = {table_cells.metric_label(metric), *(head for _, head, _ in table_cells.columns_of(results))}
    cells = {name: column if name in marked else [*map(escape, column)] for name, column in cells.items()}
    body = ["    " + " & ".join(line) + r" \\" for line in lines(cells)]
    notes = [*table_cells.notes(results), *row_notes(results)]
    comments = [f"% {row['name']}: {row['command']}" for row in results["rows"]]
    comments += [f"% {' | '.join(provenance_row(row)[:-1])}" for row in results["rows"]]
    return "\n".join(
        [
            f"% Written {results['generated']} by: {results['command']}; needs \\usepackage{{booktabs}}.",
            *(comment.replace("\n", " ") for comment in comments),
            r"\begin{table*}",
            r"  \centering\footnotesize\setlength{\tabcolsep}{3pt}",
            rf"  \caption{{{escape(results['title'])}. {escape(results['caption'])}}}",
            rf"  \label{{tab:{results['name'].replace('_', '-')}}}",
            rf"  \begin{{tabular}}{{ll{'r' * (len(cells) - 2)}}}",
            r"    \toprule",
            "    " + " & ".join(map(escape, cells)) + r" \\",
            r"    \midrule",
            *body,
            r"    \bottomrule",
            r"  \end{tabular}",
            r"  \par\smallskip\raggedright",
            *(f"  {escape(note)}\\par" for note in notes),
            r"\end{table*}",
            "",
        ]
    )


def row_notes(results: Mapping[str, Any]) -> list[str]:
    """The sentences of rows that are too long for a cell."""
    rows = results["rows"]
    tested = [f"{row['name']}: {row['significance']}" for row in rows if row["significance"] not in ("", "best")]
    sourced = [(row["name"], row["published"]["source"], row["comparison"]) for row in rows if row["published"]]
    sourced += [
        (f"{row['name']}, {column['label']}", row["columns"][k]["published"]["source"], row["columns"][k]["comparison"])
        for k, _, column in table_cells.columns_of(results)
        for row in rows
        if row["columns"][k]["published"]
    ]
    why = [". ".join(part for part in (f"{name}: {source}", text) if part) for name, source, text in sourced]
    both = {"Against the best": tested, "Published": why}
    return [f"{title}: {'. '.join(sentences)}." for title, sentences in both.items() if sentences]


def escape(text: str) -> str:
    """Text as LaTeX prints it; hyphens stay hyphens, the sign of a number becomes a minus."""
    text = "".join(LATEX.get(character) or _latex(character) for character in text)
    text = re.sub(r"(?<![\w\-.])-(?=\d)", "$-$", text)
    return re.sub(r"(?<=-)-", "{}-", text)


def _latex(character: str) -> str:
    """A character that pdflatex knows, or prints with a formula; its code point where there is neither."""
    name, parts = unicodedata.name(character, ""), unicodedata.decomposition(character).split()
    if ord(character) < 0x80 or (ord(character) < 0x180 and name.startswith("LATIN ")):
        return character
    if parts[:1] in (["<super>"], ["<sub>"]) and len(parts) == 2:
        base = chr(int(parts[1], 16)).replace("−", "-")
        return f"${'^' if parts[0] == '<super>' else '_'}{{{base if base.isascii() else _latex(base).strip('$')}}}$"
    if parts[:1] == ["<compat>"]:
        return escape(unicodedata.normalize("NFKC", character))
    greek = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER ([A-Z]+)", name)
    word = greek[2].lower().replace("lamda", "lambda") if greek else ""
    word = word.capitalize() if greek and greek[1] == "CAPITAL" else word
    if word in GREEK:
        return rf"$\{word}$"
    return f"${LIKE_LATIN[word]}$" if word in LIKE_LATIN else f"{{[}}U+{ord(character):04X}{{]}}"


# CSV and console ----------------------------------------------------------------------------------------------------


def comma_separated(results: Mapping[str, Any]) -> str:
    """A line for each run, of plain numbers and words; where they come from is in results.json.

    `value`, `low` and `high` are in the table's unit; what is not known is empty. A sweep's hyper-parameters have a
    column each, a table's further metrics three.
    """
    metric, varied = results["metric"], results.get("varied", {})
    rows = [
        {
            "table": results["name"], "method": row["name"], "seed": run["seed"], "state": run["state"],
            "metric": metric["key"], "unit": metric["unit"], **{key: run[key] for key in RUN_COLUMNS},
            **{
                f"{column['key']}{end}": (run["columns"].get(column["key"]) or {}).get(end.lstrip("_") or "value")
                for column in results.get("columns") or ()
                for end in ("", "_low", "_high")
            },
            **{key: values.get(row["name"]) for key, values in varied.items()},
            "config": row["config"], "overrides": " ".join(row["overrides"]), "folder": run["workdir"],
        }
        for row in results["rows"]
        for run in row["runs"]
    ]  # fmt: skip
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def console(results: Mapping[str, Any]) -> str:
    """What is printed at the end: the columns that fit, the best rows with a star."""
    metric, best = results["metric"], table_cells.best(results)
    cells = columns(results, lambda i, row: table_cells.value(row, metric))
    signs = ["*" if i in best else table_cells.mark(row) for i, row in enumerate(results["rows"])]
    first = 4 + len(table_cells.columns_of(results))
    shown = {"": signs} | {
        name: cells[name] for name in (*list(cells)[:first], "parameters", "seconds") if name in cells
    }
    table = formatting.columns(lines(shown), head=list(shown))
    return "\n".join([results["title"], "", *table, "", *table_cells.notes(results)])
