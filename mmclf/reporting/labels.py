"""Labels that are likely wrong: a gallery, and a table to send to whoever keeps the catalogue."""

from ..evaluation.label_errors import LabelIssue, count_errors, label_issues, with_groups
from .evidence import Evidence
from .gallery import card
from .section import Cell, Column, Section, Table, percent, render
from .slices import decided_by

# cards of the gallery; the table has all
SHOWN = 36
# characters of a text in the table
TEXT = 500


def labels(evidence: Evidence) -> Section:
    """The most doubtful labels first."""
    issues = label_issues(evidence.of_labels, evidence.groups)
    beliefs = with_groups(evidence.of_labels.probabilities, evidence.targets, evidence.groups)
    likely = min(count_errors(beliefs, evidence.targets), len(issues))
    html = render(
        "labels.html.j2",
        cards=[card(evidence, issue.row, _lines(evidence, issue)) for issue in issues[:SHOWN]],
        issues=len(issues),
        likely=likely,
        rows=len(evidence),
        grouped=evidence.groups is not None,
        by_others=evidence.left_out is not None,
    )
    table = issues_table(evidence, issues)
    said = f"Up to {likely:,} labels may be wrong, fewer where the model is weak; the most doubtful come first."
    summary = said if likely else ""
    return Section("labels", "Labels that are likely wrong", html, summary, tables={"label_issues": table})


def issues_table(evidence: Evidence, issues: list[LabelIssue]) -> Table:
    """A row an issue: id, given and suggested label, their probabilities, text and pictures."""
    columns = [Column("id"), Column("given_label"), Column("suggested_label")]
    columns += [Column("given_probability", "number"), Column("suggested_probability", "number")]
    decided = None if evidence.modalities is None else decided_by(evidence, evidence.modalities)
    columns += [Column("decided_by")] * (decided is not None)
    columns += [Column("text"), Column("pictures")] * (evidence.rows is not None)
    rows = []
    for issue in issues:
        names = evidence.table.classes[evidence.targets[issue.row]], evidence.table.classes[issue.suggested]
        cells: list[Cell] = [evidence.table.ids[issue.row], *names]
        cells += [issue.given_probability, issue.suggested_probability]
        if decided is not None:
            cells.append(str(decided[issue.row]))
        if evidence.rows is not None:
            cells += [evidence.rows.texts[issue.row][:TEXT], " ".join(evidence.rows.pictures[issue.row])]
        rows.append(cells)
    return Table("Labels that are likely wrong, the most doubtful first", columns, rows)


def _lines(evidence: Evidence, issue: LabelIssue) -> list[tuple[str, str]]:
    classes = evidence.table.classes
    given = f"{classes[evidence.targets[issue.row]]} ({percent(issue.given_probability)})"
    return [("given", given), ("suggested", f"{classes[issue.suggested]} ({percent(issue.suggested_probability)})")]
