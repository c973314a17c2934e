"""A coverage-guided search for input that hurts a parser: ``python -m tests.hostile.fuzz --seconds 60``.

How it works
1. One process for each target, for the engine ends its process. All of them share the time.
2. The seeds are real replies. A step changes bytes, or puts a nasty value into a place of the JSON: the engine
   keeps what reaches new lines of the package.
3. What is found is written to ``.fuzz/<target>/crash-...``, and its traceback is shown. It becomes a plain test in
   `test_findings.py`.

atheris is no dependency: where it is not installed, this says so and ends well.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

__all__ = ["main"]

FOLDER = Path(".fuzz")
LONGEST = 8192
"""Bytes of an input; longer ones find nothing that shorter ones do not."""

NAMES = b"""header revision kvs count more key value create_revision mod_revision version lease prev_kv deleted
succeeded responses response_put response_txn ID TTL result error code message created events canceled node nodes
action expiration host pid id weight permits members by address owner Addr Op Metadata metadata""".split()


def main() -> int:
    options = _options()
    if find_spec("atheris") is None:
        print("skipped: atheris is not installed (pip install atheris)")
        return 0
    if options.one:
        _fuzz(options.one, options.seconds)
    from tests.hostile.parsers import TARGETS

    names = options.target or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        sys.exit(f"no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    share = max(1, options.seconds // len(names))
    failed = [name for name in names if not _run(name, share)]
    print(f"{len(names)} targets, {share} s each: {', '.join(failed) or 'nothing'} found")
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Search for input that hurts a parser.")
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("--target", action="append", help="this one alone; may be repeated")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


def _run(name: str, seconds: int) -> bool:
    """Search in one target; tell whether nothing was found."""
    command = [sys.executable, "-m", "tests.hostile.fuzz", "--one", name, "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    runs = re.findall(r"number_of_executed_units:\s*(\d+)", done.stdout + done.stderr)
    if done.returncode == 0 and runs:
        print(f"{name}: nothing in {runs[-1]} inputs", flush=True)
        return True
    print(
        f"{name}: FOUND SOMETHING\n{(done.stdout + done.stderr).rpartition('INFO: seed corpus')[2][-6000:]}",
        flush=True,
    )
    return False


def _fuzz(name: str, seconds: int) -> None:
    """Search; ends this process."""
    import atheris

    with atheris.instrument_imports(include=["etcd_recipes"]):
        from tests.hostile.parsers import TARGETS
    from tests.hostile.mutations import NASTY

    def spoil(raw: bytes, longest: int, seed: int) -> bytes:
        rng = random.Random(seed)
        try:
            data = json.loads(raw)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict | list) or rng.random() < 0.4:
            return bytes(atheris.Mutate(raw, longest))
        where, place = data, None
        while isinstance(where, dict | list) and where and (place is None or rng.random() < 0.7):
            place = rng.choice(list(where) if isinstance(where, dict) else range(len(where)))
            if not isinstance(where[place], dict | list) or not where[place] or rng.random() < 0.3:
                where[place] = rng.choice(NASTY)
                break
            where = where[place]
        if isinstance(where, dict) and rng.random() < 0.3:
            where[rng.choice(NAMES).decode()] = rng.choice(NASTY)
        return json.dumps(data).encode()[:longest]

    folder = FOLDER / re.sub(r"\W", "-", name)
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(TARGETS[name].seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    words = folder / "words"
    words.write_text("".join(f'"\\"{word.decode()}\\":"\n' for word in NAMES))
    flags = [
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST}",
        f"-dict={words}",
        f"-artifact_prefix={folder}/",
        "-timeout=5",
        "-rss_limit_mb=2048",
        "-verbosity=0",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], TARGETS[name].run, custom_mutator=spoil)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
