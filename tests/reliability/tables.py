"""The tables of the report, in Markdown: pure functions of its figures, one for each part of the page.

Rules of this file
* A figure that was not measured is said to be so; nothing is left out because it looks bad.
* Both servers side by side, wherever there is something to compare.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from statistics import median

from docs.parts import picture_of as picture
from docs.parts import table
from tests.reliability.findings import FINDINGS
from tests.reliability.report import Planted, Report, Run, Simulation
from tests.torture.result import Check, Operations, Result

__all__ = ["PARTS", "WHO_DIED", "is_green"]

NOTHING = "Not measured yet."

WHO_DIED = {"calm": "the holder", "with a leader kill": "the holder and the leader"}
"""The ways of a takeover, in words."""

PARTS: dict[str, Callable[[Report], str]] = {}

WRITES = ("register", "outside")
"""The checks that compare what was written with what was acknowledged."""

ASKED = {
    "register": "writes to the fenced registers in etcd: none lost, invented or doubled",
    "outside": "the same for a database table and a file that check tokens",
    "tokens of writes": "what the fences let in came in the order of tokens",
    "linearizable": "the registers are linearizable, unknown outcomes kept open",
    "exclusion": "nobody went in while somebody else was promised to be alone",
    "notice": "whoever lost a hold could know it before the next one went in",
    "tokens": "of two that exclude each other, the later one has the greater token",
    "watchers": "each watcher's log is the server's history: no gap, no repeat, no going back",
    "observers": "leaders are seen in their order",
    "double barrier": "nobody is in before all have come, nor out before all leave",
    "barrier": "nobody passes a barrier that is closed",
    "latch": "nobody passes a latch before all have counted down",
    "registry": "views show who is there, and only those, within 10 s of the healing",
    "liveness": "after the healing everybody gets in, through, and elected in time",
    "members": "all members have the same at the end",
    "no crash": "no worker ended by an error that is not the library's",
}


def part(name: str) -> Callable[[Callable[[Report], str]], Callable[[Report], str]]:
    def register(write: Callable[[Report], str]) -> Callable[[Report], str]:
        PARTS[name] = write
        return write

    return register


def count(number: float) -> str:
    return f"{number:,.0f}"


def check_of(result: Result, name: str) -> Check:
    return next(check for check in result.checks if check.name == name)


def held(check: Check, words: str) -> str:
    return words if check.held else f"**no**: {check.found[0] if check.found else check.name}"


# -- in short ----------------------------------------------------------------------------------------------------


def is_green(report: Report) -> Iterator[str]:
    """Give what is not as it has to be, in words; nothing, if all verdicts are good."""
    for run in report.torture:
        result, who = run.result, f"torture, etcd {run.result.etcd}"
        if result.verdict != "passed":
            yield f"{who}: {result.verdict}, {', '.join(result.why)}"
        yield from (f"{who}: {check.name}" for check in result.checks if not check.held)
        if result.overlaps_fenced or not result.late_writes_refused:
            yield f"{who}: {result.overlaps_fenced} fenced overlaps, {result.late_writes_refused} late writes refused"
        if result.watching.repeated or result.watching.missing or result.watching.out_of_order:
            yield f"{who}: watches"
    for each in report.simulation:
        yield from (f"simulation: {words}" for words in each.violations)
    for bug in report.planted:
        if not bug.found:
            yield f"planted: {bug.name} was not found"
    for cut in report.cut_off:
        if cut.library_repeated or cut.library_missing:
            yield f"cut off, etcd {cut.etcd}: {cut.library_repeated} repeated, {cut.library_missing} missing"


@part("in short")
def in_short(report: Report) -> str:
    if not report.torture:
        return NOTHING
    head = ["", *(f"etcd {run.result.etcd}" for run in report.torture)]
    rows = [
        [words, *(say(run.result) for run in report.torture)] for words, say in VERDICTS.items()
    ]
    return "\n\n".join(
        ["### Real processes, real members", table(head, rows), *_simulated(report.simulation)]
    )


def _writes(result: Result) -> str:
    broken = [check_of(result, name) for name in WRITES if not check_of(result, name).held]
    return held(broken[0], "") if broken else "0 / 0 / 0"


def _histories(result: Result) -> str:
    check = check_of(result, "linearizable")
    return held(
        check, f"{result.histories} of {result.histories} ({count(check.looked_at)} operations)"
    )


NO_QUORUM = "quorum lost"


def _worst_gap(result: Result) -> str:
    gaps = [each for each in result.gaps if each.kind != NO_QUORUM]
    gap = max(gaps, key=lambda each: each.worst, default=None)
    return NOTHING if gap is None else f"{gap.worst:.2f} s ({gap.kind})"


def _without_quorum(result: Result) -> str:
    gap = next((each for each in result.gaps if each.kind == NO_QUORUM), None)
    lasted = max((f.end - f.start for f in result.faults if f.kind == NO_QUORUM), default=0.0)
    return NOTHING if gap is None else f"{gap.worst:.2f} s (away for up to {lasted:.1f} s)"


def _takeover(result: Result) -> str:
    worst = max(result.takeovers, key=lambda each: each.seconds, default=None)
    if worst is None:
        return NOTHING
    return f"{worst.seconds / result.ttl:.1f} ttl ({WHO_DIED.get(worst.how, worst.how)})"


def _watching(result: Result) -> str:
    seen = result.watching
    return f"{seen.missing} / {seen.repeated} / {seen.out_of_order} of {count(seen.expected)}"


VERDICTS: dict[str, Callable[[Result], str]] = {
    "verdict": lambda r: f"**{r.verdict}**" + (f": {', '.join(r.why)}" if r.why else ""),
    "faults, in how long": lambda r: f"{len(r.faults)}, {r.seconds / 60:.1f} minutes",
    "acknowledged writes lost / invented / doubled": _writes,
    "two holders at once, behind a fence": lambda r: f"{r.overlaps_fenced}",
    "holds begun while an overtaken holder was still busy": lambda r: (
        f"{sum(r.overlaps_unfenced.values())}"
    ),
    "late writes that the fence refused": lambda r: count(r.late_writes_refused),
    "histories that are linearizable": _histories,
    "watch events missing / repeated / out of order": _watching,
    "longest gap between two writes of a client": _worst_gap,
    "the same while two of three members were away": _without_quorum,
    "slowest takeover after a holder died": _takeover,
}


def _simulated(runs: tuple[Simulation, ...]) -> Iterator[str]:
    if not runs:
        return
    yield "### Simulated"
    yield table(
        ["store", "seeds", "simulated", "acquisitions", "late writes refused", "violations"],
        [
            [
                each.api,
                f"{count(each.seeds)} of {each.seconds:g} s",
                f"{each.simulated_hours:.0f} hours",
                count(each.acquisitions),
                count(each.late_writes_refused),
                len(each.violations),
            ]
            for each in runs
        ],
    )


# -- pictures ----------------------------------------------------------------------------------------------------


@part("close-ups")
def close_ups(report: Report) -> str:
    return (
        "\n\n".join(picture(f"close-up-{run.result.etcd}.svg") for run in report.torture) or NOTHING
    )


@part("timelines")
def timelines(report: Report) -> str:
    return (
        "\n\n".join(picture(f"timeline-{run.result.etcd}.svg") for run in report.torture) or NOTHING
    )


# -- how long one waits ------------------------------------------------------------------------------------------


@part("outages")
def outages(report: Report) -> str:
    return picture("outages.svg") if report.torture else NOTHING


@part("takeovers")
def takeovers(report: Report) -> str:
    if not report.torture:
        return NOTHING
    hows = sorted({each.how for run in report.torture for each in run.result.takeovers})
    rows = [[WHO_DIED.get(how, how), *(_times(run, how) for run in report.torture)] for how in hows]
    head = ["median, worst (how many)", *(f"etcd {run.result.etcd}" for run in report.torture)]
    return f"{picture('takeovers.svg')}\n\n{table(head, rows)}"


def _times(run: Run, how: str) -> str:
    ttl = run.result.ttl
    found = [each.seconds / ttl for each in run.result.takeovers if each.how == how]
    return f"{median(found):.2f}, {max(found):.2f} ttl ({len(found)})" if found else ""


# -- would it have been seen -------------------------------------------------------------------------------------


@part("planted bugs")
def planted(report: Report) -> str:
    if not report.planted:
        return NOTHING
    what = {each.name: each.what for each in reversed(report.planted)}
    by = {(each.name, each.where): each for each in report.planted}
    rows = [
        [name.replace("_", " "), what[name], *(_found(by.get((name, where))) for where in WHERE)]
        for name in sorted(what)
    ]
    caught = {each.name for each in report.planted if each.found}
    drawn = [picture("planted.svg")] if any(b.seeds is not None for b in report.planted) else []
    return "\n\n".join(
        [
            f"**{len(caught)} of {len(what)}** were found.",
            *drawn,
            table(["planted bug", "what it does", *(f"found by {w}" for w in WHERE)], rows),
        ]
    )


WHERE = ("simulation", "torture")


def _found(bug: Planted | None) -> str:
    if bug is None:
        return ""
    if not bug.found:
        return "**not found**"
    seeds = "" if bug.seeds is None else f"{bug.seeds:g} seed{'s' if bug.seeds != 1 else ''}: "
    return seeds + ", ".join(bug.by)


@part("found")
def found(_: Report) -> str:
    if not FINDINGS:
        return "Nothing is listed here yet."
    rows = [[each.what, f"{each.by}, seed {each.seed}", f"`{each.test}`"] for each in FINDINGS]
    return table(["what was wrong, and is mended", "found by", "kept as"], rows)


# -- all the figures ---------------------------------------------------------------------------------------------


@part("how it was made")
def made(report: Report) -> str:
    if not report.torture and not report.simulation:
        return NOTHING
    lines = [f"{report.made}, {report.machine}.", ""]
    for run in report.torture:
        result = run.result
        workers = ", ".join(f"{n} on {api}" for api, n in result.workers.items())
        skipped = "".join(f"; no {kind}: {why}" for kind, why in result.skipped.items())
        lines.append(
            f"- etcd {result.etcd}, three members on {result.places}; etcd-recipes "
            f"{result.project}, Python {result.python}; workers: {workers}; ttl {result.ttl:g} s; "
            f"{result.seconds:.0f} s: `{result.command}`{skipped}"
        )
    lines += [
        f"- simulated {each.ratio:.0f} times as fast as time: `{each.command}`"
        for each in report.simulation
    ]
    return "\n".join(lines)


NAMES = {
    "read": "read of a fenced register",
    "swap": "compare-and-swap of a fenced register",
    "outside": "write to a fenced table or file",
    "numbered writes": "plain writes",
}
READ_BACK = ("swap", "outside")
"""The operations whose unknown outcomes are resolved at the end: each has a trace of its own."""


@part("operations")
def operations(report: Report) -> str:
    if not report.torture:
        return NOTHING
    names = dict.fromkeys(name for run in report.torture for name in run.result.operations)
    names = dict.fromkeys(sorted(names, key=lambda name: (name in NAMES, name)))
    rows = [
        [NAMES.get(name, name), *(_outcomes(run.result, name) for run in report.torture)]
        for name in names
    ]
    head = ["ok / refused / unknown", *(f"etcd {run.result.etcd}" for run in report.torture)]
    return table(
        head, [*rows, ["**together**", *(_together(run.result) for run in report.torture)]]
    )


def _outcomes(result: Result, name: str) -> str:
    done = result.operations.get(name, Operations())
    applied = f" ({done.applied} carried out)" if done.unknown and name in READ_BACK else ""
    return f"{count(done.ok)} / {count(done.refused)} / {count(done.unknown)}{applied}"


def _together(result: Result) -> str:
    done = list(result.operations.values())
    sums = (sum(o.ok for o in done), sum(o.refused for o in done), sum(o.unknown for o in done))
    return " / ".join(map(count, sums))


@part("faults")
def faults(report: Report) -> str:
    if not report.torture:
        return NOTHING
    worst = Counter({fault.kind: 0.0 for run in report.torture for fault in run.result.faults})
    for run in report.torture:
        for gap in run.result.gaps:
            worst[gap.kind] = max(worst[gap.kind], gap.worst)
    rows = [
        [kind, *(cell for run in report.torture for cell in _fault(run.result, kind))]
        for kind, _ in sorted(worst.items(), key=lambda each: (-each[1], each[0]))
    ]
    head = [
        words
        for run in report.torture
        for words in (f"etcd {run.result.etcd}: times", "gap: median, worst (of)")
    ]
    return table(["fault", *head], rows)


def _fault(result: Result, kind: str) -> tuple[int, str]:
    gap = next((each for each in result.gaps if each.kind == kind and each.samples), None)
    times = sum(fault.kind == kind for fault in result.faults)
    said = f"{gap.median:.2f}, {gap.worst:.2f} s ({len(gap.samples)})" if gap else ""
    return times, said


@part("checks")
def checks(report: Report) -> str:
    if not report.torture:
        return NOTHING
    names = dict.fromkeys(check.name for run in report.torture for check in run.result.checks)
    rows = []
    for name in names:
        found = [check_of(run.result, name) for run in report.torture]
        rows.append(
            [
                f"{name}: {ASKED[name]}" if name in ASKED else name,
                *(held(each, f"held, of {count(each.looked_at)}") for each in found),
            ]
        )
    return table(["check", *(f"etcd {run.result.etcd}" for run in report.torture)], rows)


@part("overlaps")
def overlaps(report: Report) -> str:
    if not report.torture:
        return NOTHING
    rows = []
    for run in report.torture:
        result = run.result
        by_line = ", ".join(f"`{k}` {v}" for k, v in sorted(result.overlaps_unfenced.items()) if v)
        rows.append(
            [
                result.etcd,
                result.pauses_of_holders,
                by_line or 0,
                result.overlaps_fenced,
                count(result.late_writes_refused),
            ]
        )
    head = [
        "etcd", "holders stopped past their ttl", "holds begun while another was still busy, by line",
        "let in by a fence", "late writes refused",
    ]  # fmt: skip
    return table(head, rows)


@part("watches")
def watches(report: Report) -> str:
    if not report.torture:
        return NOTHING
    rows = []
    for run in report.torture:
        seen = run.result.watching
        numbers = (seen.expected, seen.delivered, seen.missing, seen.repeated, seen.out_of_order)
        rows.append([run.result.etcd, seen.watchers, *(count(n) for n in numbers), seen.resyncs])
    head = [
        "etcd", "watchers", "expected", "delivered", "missing", "repeated", "out of order",
        "announced resyncs",
    ]  # fmt: skip
    return table(head, rows)


@part("cut off")
def cut_off(report: Report) -> str:
    if not report.cut_off:
        return NOTHING
    rows = [
        [
            each.etcd,
            f"{min(each.library):.1f} to {max(each.library):.1f} s",
            f"{min(each.asked):.1f} to {max(each.asked):.1f} s",
            f"never (silent for {each.silent:.0f} s)",
            f"{each.library_missing} / {each.library_repeated}",
            f"{each.raw_missing} / {each.raw_repeated}",
            count(each.written),
        ]
        for each in report.cut_off
    ]
    head = [
        "etcd", "this library: next event after", "raw watch that asks for a leader: ended after",
        "raw watch that does not: noticed", "events missing / repeated here", "with the raw watch",
        "events meanwhile",
    ]  # fmt: skip
    return table(head, rows)


@part("simulation")
def simulation(report: Report) -> str:
    runs = report.simulation
    if not runs:
        return NOTHING
    said = [f"{count(each.requests)} on {each.api}" for each in runs]
    kinds = dict.fromkeys(kind for each in runs for kind in each.faults)
    counted = dict.fromkeys(name for each in runs for name in each.counts)
    head = [f"on {each.api}" for each in runs]
    return "\n\n".join(
        [
            f"Requests: {', '.join(said)}.",
            table(
                ["fault", *head],
                [[kind, *(count(each.faults.get(kind, 0)) for each in runs)] for kind in kinds],
            ),
            table(
                ["what came of it", *head],
                [[name, *(count(each.counts.get(name, 0)) for each in runs)] for name in counted],
            ),
        ]
    )
