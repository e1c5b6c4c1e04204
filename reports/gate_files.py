"""The gate's findings as files: JSON for programs, JUnit XML for CI, Markdown for a job summary."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

from reports.gate import Finding, findings_table, shown
from reports.gate_baseline import Part
from reports.ledger import LedgerError, write_atomically


def write_findings(folder: Path, findings: Sequence[Finding], baseline: Mapping[str, Part]) -> list[Path]:
    """Write ``gate.json``, ``gate.xml`` and ``gate.md`` into ``folder``, each completely or not at all.

    Raises:
        LedgerError: The folder cannot be written.
    """
    texts = {
        "gate.json": as_json(findings),
        "gate.xml": as_junit(findings),
        "gate.md": findings_table(findings, baseline).to_markdown(),
    }
    return [write_atomically(folder / name, text.encode()) for name, text in texts.items()]


def as_json(findings: Sequence[Finding]) -> str:
    """Return all findings; a number that JSON does not have becomes a string, such as "nan"."""
    plain = [{**asdict(f), "before": _plain(f.before), "now": _plain(f.now)} for f in findings]
    failed = any(finding.verdict.failed for finding in findings)
    return json.dumps({"passed": not failed, "findings": plain}, indent=1, allow_nan=False) + "\n"


def as_junit(findings: Sequence[Finding]) -> str:
    """Return JUnit XML: a suite for each part, a case for each figure."""
    root = ElementTree.Element("testsuites", name="dvbench gate")
    for part in dict.fromkeys(finding.part for finding in findings):
        own = [finding for finding in findings if finding.part == part]
        failures = str(sum(finding.verdict.failed for finding in own))
        suite = ElementTree.SubElement(root, "testsuite", name=part, tests=str(len(own)), failures=failures, errors="0")
        for finding in own:
            case = ElementTree.SubElement(suite, "testcase", classname=f"gate.{part}", name=finding.figure)
            if finding.verdict.failed:
                told = f"{finding.verdict}: {finding.by} (tolerance: {finding.tolerance or 'none'})"
                failure = ElementTree.SubElement(case, "failure", message=told, type=str(finding.verdict))
                failure.text = f"baseline: {shown(finding.before)}\nnow: {shown(finding.now)}"
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def append_job_summary(findings: Sequence[Finding], baseline: Mapping[str, Part]) -> None:
    """Append the table to GitHub's job summary; does nothing elsewhere.

    Raises:
        LedgerError: The file that ``GITHUB_STEP_SUMMARY`` names cannot be written.
    """
    name = os.environ.get("GITHUB_STEP_SUMMARY")
    if not name:
        return
    try:
        with Path(name).open("a", encoding="utf-8") as file:
            file.write(findings_table(findings, baseline).to_markdown() + "\n")
    except OSError as error:
        raise LedgerError.of("write to", Path(name).parent, error) from error


def _plain(values: Sequence[int | float]) -> list[int | float | str]:
    return [value if math.isfinite(value) else str(value) for value in values]
