"""Sessions for users (quickstart, reproduce-all, reproduce-*) and developers (tests, lint, types, bench, gate).

Every session has an environment of its own, made by uv from `uv.lock`; with uv's cache that takes seconds.
"""

import re
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True

OUT = Path("reports/out")
RECORDS = Path("reports/records")
TARGETS = (
    *(f"table{number}" for number in range(1, 20)),
    *(f"figure{number}" for number in range(8, 22)),
    "selection",
)


def install(session: nox.Session, *extras: str, compiled: bool = True) -> None:
    """Install the locked environment into the session's own.

    Compiling takes 20 s, and saves several in each of the many processes that are about to measure: where Python is
    told to write no bytecode (PYTHONDONTWRITEBYTECODE, as in many containers) the parsing of torch and its like would
    be done again in each.
    """
    session.run_install(
        "uv",
        "sync",
        "--locked",
        "--quiet",
        *(["--compile-bytecode"] if compiled else []),
        *(f"--extra={extra}" for extra in extras),
        f"--python={session.virtualenv.location}",
        env={"UV_PROJECT_ENVIRONMENT": session.virtualenv.location},
    )


@nox.session
def quickstart(session: nox.Session) -> None:
    """Measure on the embedded scene: table 14 up to 1024 px, figures 20 and 21 and a token map, in minutes."""
    install(session)
    session.run("dvbench", "doctor")
    session.run("dvbench", "show", "tokens", "--out", str(OUT))
    session.run("dvbench", "reproduce", "table14", "figure20", "figure21", "--out", str(OUT), *session.posargs)
    session.log(f"tables, figures and the token map are in {OUT}")


def _reproduce(session: nox.Session, target: str) -> None:
    install(session)
    session.run("dvbench", "reproduce", target, *session.posargs)


for _target in TARGETS:

    @nox.session(name=f"reproduce-{_target}")
    def _session(session: nox.Session, target: str = _target) -> None:
        """Run what is missing for a table or figure of the paper and draw it; options go behind `--`."""
        _reproduce(session, target)


@nox.session(name="reproduce-all")
def reproduce_all(session: nox.Session) -> None:
    """Run what is missing for every table and figure, draw all, and write the report page; options go behind `--`."""
    _reproduce(session, "all")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the fast tests; `nox -s tests -- -m slow` runs the slow ones."""
    install(session, "dev")
    session.run("pytest", *session.posargs)


@nox.session
def counts(session: nox.Session) -> None:
    """Write the exact counts that README and docs quote into them anew, after a change that moves one."""
    install(session)
    session.run("python", "-m", "dvbench.quoted")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into site/, warnings being errors; `nox -s docs -- serve` shows it while you write."""
    install(session, "docs", compiled=False)
    session.run("mkdocs", *(session.posargs or ["build", "--strict"]), env={"NO_MKDOCS_2_WARNING": "1"})
    fetched = re.compile(
        r'<(?:script|img|iframe)[^>]*src="?(?:https?:)?//|<link[^>]*stylesheet[^>]*href="?(?:https?:)?//'
    )
    loading = [str(page) for page in Path("site").rglob("*.html") if fetched.search(page.read_text(encoding="utf-8"))]
    if loading:
        session.error(f"these pages load something from another host: {', '.join(loading)}")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    install(session, "dev", compiled=False)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types."""
    install(session, "dev", compiled=False)
    session.run("mypy")


@nox.session
def records(session: nox.Session) -> None:
    """Check the committed records, each of which comes from somebody's machine."""
    if not any(RECORDS.rglob("*.json")):
        session.skip(f"no record in {RECORDS} yet")
    install(session)
    session.run("dvbench", "records", "check", str(RECORDS))


@nox.session(name="bench-gpu")
def bench_gpu(session: nox.Session) -> None:
    """Check and measure all that needs a GPU, in under ten minutes; options of `dvbench gpu` go behind `--`."""
    install(session)
    session.run("dvbench", "gpu", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Compare speeds as ratios within one run; the figures go to reports/out/bench.json."""
    install(session, "dev")
    OUT.mkdir(parents=True, exist_ok=True)
    session.run(
        "pytest",
        "tests/benchmarks",
        "--benchmark-only",
        "--override-ini=addopts=",
        "--override-ini=python_files=bench_*.py",
        "--override-ini=python_functions=bench_*",
        f"--benchmark-json={OUT / 'bench.json'}",
        *session.posargs,
    )


@nox.session(name="triton-aot")
def triton_aot(session: nox.Session) -> None:
    """Compile the Triton kernels for three GPUs, without one, and print what their machine code needs."""
    install(session, "dev")
    session.run("python", "-m", "tests.triton_aot", *session.posargs)


@nox.session
def gate(session: nox.Session) -> None:
    """Fail when counts, outputs, accuracy or speed ratios got worse; `nox -s gate -- --only hard` for a part."""
    install(session)
    session.run("dvbench", "gate", "--out", str(OUT / "gate"), *session.posargs)
