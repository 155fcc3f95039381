"""``python -m tests.mistakes [words]``: make each seeded mistake in a copy, see what catches it."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mistakes.mistakes import MISTAKES, Mistake

ROOT = Path(__file__).parents[2]
COPIED = ("minibox", "tests", "pyproject.toml")
LIMIT_SECONDS = 420


def main(words: list[str]) -> int:
    """Try the mistakes whose names contain one of ``words``, or all; 1 if one is not caught."""
    chosen = [each for each in MISTAKES if not words or any(word in each.name for word in words)]
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        verdicts = list(workers.map(_told, chosen))
    caught = verdicts.count("caught")
    sys.stdout.write(f"{caught} of {len(chosen)} mistakes are caught\n")
    return 0 if caught == len(chosen) else 1


def _told(mistake: Mistake) -> str:
    began = time.monotonic()
    verdict, by = _tried(mistake)
    seconds = time.monotonic() - began
    sys.stdout.write(f"{verdict:<12} {seconds:4.0f} s  {mistake.name:<70} {by}\n")
    sys.stdout.flush()
    return verdict


def _tried(mistake: Mistake) -> tuple[str, str]:
    """Whether it is caught, and what says so."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy / name)
        for edit in mistake.edits:
            file = copy / edit.file
            text = file.read_text()
            if text.count(edit.old) != 1:
                return "DOES NOT FIT", f"{edit.file} has another text"
            file.write_text(text.replace(edit.old, edit.new))
        try:
            done = subprocess.run(
                [sys.executable, *mistake.check],
                cwd=copy,
                env={**os.environ, "PYTHONPATH": str(copy)},
                capture_output=True,
                text=True,
                timeout=LIMIT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return "NOT CAUGHT", "it took too long"
    if done.returncode == 0:
        return "NOT CAUGHT", " ".join(mistake.check[1:])
    return "caught", _witness(done.stdout)


def _witness(output: str) -> str:
    """The line that says what was broken."""
    for line in output.splitlines():
        if "BROKEN" in line or line.startswith("FAILED"):
            return line[:110]
    return output.strip().splitlines()[-1][:110] if output.strip() else "it doesn't even start"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
