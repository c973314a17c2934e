"""Pictures of the command line's screens: ``python docs/figures/screens.py`` takes them from real runs.

The algorithm
1. Start an etcd, and actors on it: those who hold, those who wait.
2. Run each command in a real terminal (tmux, 80 columns), and wait until it shows what it is to show.
3. Write what stands on the screen then, with its styles, as SVG into the folder ``screens`` beside this file.

Pages include the files as they are (``{raw} html``), and text takes the page's own colour; as an image of
its own (in the README) a picture goes by what the reader's system prefers. Port 2379 has to be free.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from html import escape
from pathlib import Path

from rich.ansi import AnsiDecoder
from rich.cells import cell_len
from rich.console import Console
from rich.style import Style

from etcd_recipes import Client
from etcd_recipes.testing import EtcdCluster, EtcdProcess

FOLDER = Path(__file__).parent / "screens"
ENDPOINT = "http://127.0.0.1:2379"
COLUMN, ROW, EDGE, SIZE = 7.8, 18, 12, 13
COLOURS = {1: ("red", "#d64234"), 2: ("green", "#1f8a4c")}
MIXED = "{colour};fill:color-mix(in srgb,{colour} 75%,currentColor)"
"""Readable on light and on dark; where a browser can mix, darker on the one and lighter on the other."""

LOOKS = (
    "svg:root{color:#24292f}@media(prefers-color-scheme:dark){svg:root{color:#d0d7de}}"
    ".screen text{white-space:pre;fill:currentColor}.screen .b{font-weight:bold}"
    ".screen .d{opacity:.7}.screen .i{font-style:italic}"
) + "".join(
    f".screen .{name}{{fill:{MIXED.format(colour=colour)}}}" for name, colour in COLOURS.values()
)


# -- a captured screen as SVG: pure -----------------------------------------------------------------------


def picture(title: str, screen: str, columns: int) -> str:
    """Give what a terminal shows, with its escape sequences for styles, as an SVG."""
    lines = screen.rstrip("\n").split("\n")
    width, height = columns * COLUMN + 2 * EDGE, len(lines) * ROW + 2 * EDGE
    decoder = AnsiDecoder()
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="screen" viewBox="0 0 {width:g} {height:g}" '
        f'role="img" aria-label="{escape(title)}" style="width:100%;max-width:{width:g}px;height:auto" '
        f'font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="{SIZE}">'
    )
    frame = (
        f'<rect x="0.5" y="0.5" width="{width - 1:g}" height="{height - 1:g}" rx="6" '
        'fill="currentColor" fill-opacity="0.04" stroke="currentColor" stroke-opacity="0.3"/>'
    )
    parts = [head, f"<title>{escape(title)}</title>", f"<style>{LOOKS}</style>", frame]
    for number, line in enumerate(lines):
        y = EDGE + number * ROW + SIZE
        parts += [_run(x, y, text, classes) for x, text, classes in _runs(decoder, line)]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _runs(decoder: AnsiDecoder, line: str) -> Iterator[tuple[int, str, str]]:
    """Give the pieces of one style, each with the column in which it begins."""
    column = 0
    for segment in decoder.decode_line(line).render(Console(width=1000)):
        text = segment.text.rstrip("\n")
        if text.strip():
            ahead = len(text) - len(text.lstrip(" "))
            yield column + ahead, text.strip(" "), _classes(segment.style)
        column += cell_len(text)


def _classes(style: Style | None) -> str:
    if style is None:
        return ""
    found = [name for name, on in (("b", style.bold), ("d", style.dim), ("i", style.italic)) if on]
    if style.color is not None and style.color.number in COLOURS:
        found.append(COLOURS[style.color.number][0])
    return " ".join(found)


def _run(column: int, y: int, text: str, classes: str) -> str:
    kind = f' class="{classes}"' if classes else ""
    return (
        f'<text x="{EDGE + column * COLUMN:.4g}" y="{y}" textLength="{cell_len(text) * COLUMN:.4g}"{kind}>'
        f"{escape(text, quote=False)}</text>"
    )


# -- a terminal -------------------------------------------------------------------------------------------


class Terminal:
    """A shell in a terminal of tmux's, which is this program's own."""

    def __init__(self, folder: Path, columns: int, rows: int) -> None:
        self._folder = folder
        self._tmux = ("tmux", "-L", f"screens-{folder.name}", "-f", "/dev/null")
        start = folder / "start.sh"
        start.write_text(
            f'etcd-recipes() {{ {shlex.quote(sys.executable)} -m etcd_recipes.cli "$@"; }}\n'
            f"export ETCDCTL_ENDPOINTS={ENDPOINT}\nPS1='$ '\n"
        )
        shell = f"bash --noprofile --rcfile {shlex.quote(str(start))}"
        self._run(
            "new-session", "-d", "-x", str(columns), "-y", str(rows), "-c", str(folder), shell
        )
        self._run("set", "-g", "status", "off")
        self._run("resize-window", "-x", str(columns), "-y", str(rows))
        self.shows(r"^\$")
        self.columns = columns

    def type(self, command: str) -> None:
        """Enter a line."""
        self._run("send-keys", "-l", command)
        self._run("send-keys", "Enter")

    def script(self, name: str, source: str) -> None:
        """Have a program of that name in the folder where the shell is."""
        (self._folder / name).write_text(f"#!/bin/sh\n{source}\n")
        (self._folder / name).chmod(0o755)

    def press(self, key: str) -> None:
        """Press a key, by tmux's name for it."""
        self._run("send-keys", key)

    def shows(self, pattern: str, patience: float = 60.0) -> str:
        """Wait until the screen has the pattern; give the screen with its styles."""
        ends = time.monotonic() + patience
        while not re.search(pattern, self._text(), re.MULTILINE):
            if time.monotonic() > ends:
                raise SystemExit(f"no {pattern!r} in\n{self._text()}")
            time.sleep(0.05)
        return self._run("capture-pane", "-p", "-e").rstrip("\n")

    def close(self) -> None:
        """End the shell and all that runs in it."""
        self._run("kill-server")

    def _text(self) -> str:
        return self._run("capture-pane", "-p").rstrip()

    def _run(self, *words: str) -> str:
        done = subprocess.run([*self._tmux, *words], capture_output=True, text=True, check=True)
        return done.stdout


@contextmanager
def terminal(rows: int, columns: int = 80) -> Iterator[Terminal]:
    """Give a terminal for as long as the block lasts."""
    with tempfile.TemporaryDirectory() as folder:
        opened = Terminal(Path(folder), columns, rows)
        try:
            yield opened
        finally:
            opened.close()


def keep(name: str, title: str, screen: str, columns: int = 80) -> None:
    """Write a picture, without the empty prompt that a shell shows at the end."""
    shown = re.sub(r"\n\$ *$", "", screen)
    (FOLDER / f"{name}.svg").write_text(picture(title, shown, columns))
    print(name)


# -- the actors -------------------------------------------------------------------------------------------

HOLD = "import time; time.sleep(1000)"
ACTORS = (
    "lock jobs/nightly",
    "lock jobs/nightly",
    "lock jobs/nightly",
    "lock jobs/hourly",
    "lock --slots 3 api-calls",
    "lock --slots 3 api-calls",
    "elect scheduler --value web-1",
    "elect scheduler --value web-2",
    "register api --addr 10.0.0.7:8080 --id api-1",
    "register api --addr 10.0.0.8:8080 --id api-2",
)


@contextmanager
def actors() -> Iterator[None]:
    """Have somebody hold, and others wait, for as long as the block lasts."""
    with ExitStack() as stack, Client(ENDPOINT) as client:
        stack.callback(client.barrier("deploy").release)
        client.barrier("deploy").hold()
        for words in ACTORS:
            program = [sys.executable, "-m", "etcd_recipes.cli", *words.split()]
            program += ["--endpoints", ENDPOINT, "--", sys.executable, "-c", HOLD]
            before = client.v3.kv.range("", prefix=True, count_only=True).count
            actor = subprocess.Popen(program)
            stack.callback(actor.wait)
            stack.callback(actor.terminate)
            while client.v3.kv.range("", prefix=True, count_only=True).count == before:
                time.sleep(0.05)
        yield


# -- the pictures -----------------------------------------------------------------------------------------


def locks() -> None:
    with terminal(24) as screen:
        screen.type("etcd-recipes locks")
        keep("locks", "etcd-recipes locks", screen.shows(r"service .*\n.*\n\$$"))


def top() -> None:
    with terminal(13) as screen, Client(ENDPOINT) as client:
        screen.type("clear; etcd-recipes top")
        screen.shows("14/15|13/15")
        for _ in range(3):
            with client.lock("jobs/weekly"):
                screen.shows(r"\* lock +jobs/weekly +\w+/")
            screen.shows(r"jobs/weekly +free")
        with client.lock("jobs/weekly"):
            shown = screen.shows(r"\* lock +jobs/weekly +\w+/.*/15$")
            keep("top", "etcd-recipes top", shown)


def doctor() -> None:
    with terminal(30) as screen:
        screen.type("etcd-recipes doctor")
        keep("doctor", "etcd-recipes doctor", screen.shows(r"broken\n\$$"))


REPORT = "trap 'echo report: asked to end; exit' TERM; echo report: begins; sleep 60 & wait"
RUN = "etcd-recipes lock -v --ttl 3 jobs/report ./report.sh; echo status $?"


def lost() -> None:
    with terminal(14) as screen:
        screen.script("report.sh", REPORT)
        screen.type(RUN)
        screen.shows("^report: begins")
        command = "break jobs/report --yes"
        subprocess.run(
            [sys.executable, "-m", "etcd_recipes.cli", "--endpoints", ENDPOINT, *command.split()],
            check=True,
            capture_output=True,
        )
        keep("lock-lost", "etcd-recipes lock, and the lock is lost", screen.shows(r"^status \d+"))


def away() -> None:
    with EtcdProcess(port=2379) as etcd, terminal(14) as screen:
        screen.script("report.sh", REPORT)
        screen.type(RUN)
        screen.shows("^report: begins")
        etcd.kill()
        keep("lock-away", "etcd-recipes lock, and etcd goes away", screen.shows(r"^status \d+"))


def status() -> None:
    with EtcdCluster(3) as cluster, terminal(14) as screen:
        follower = next(m for m in cluster.members if m is not cluster.leader())
        follower.kill()
        screen.type(f"export ETCDCTL_ENDPOINTS={','.join(cluster.endpoints)}; clear")
        screen.type("etcd-recipes status")
        keep(
            "status",
            "etcd-recipes status, with a dead member",
            screen.shows(r"running there.*\n\$$"),
        )


def demo() -> None:
    with terminal(24) as screen:
        screen.type("unset ETCDCTL_ENDPOINTS; clear; etcd-recipes demo --seed 7")
        keep(
            "demo",
            "etcd-recipes demo, in the middle",
            screen.shows("leads the etcd cluster, .* after"),
        )
        screen.press("C-c")
        screen.shows(r"ended by SIGINT")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with EtcdProcess(port=2379), actors():
        here: tuple[Callable[[], None], ...] = (locks, top, doctor, lost)
        for take in here:
            take()
    for take in (away, status, demo):
        take()


if __name__ == "__main__":
    main()
