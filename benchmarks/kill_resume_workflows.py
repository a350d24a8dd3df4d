"""Kill `jmlip ensemble` or `jmlip distill` at random moments, resume, and compare what they leave.

    python benchmarks/kill_resume_workflows.py distill --kills 10 --directory DIR

Small potentials of hydrogen molecules; a checkpoint is written after every step. Each process is
killed with SIGKILL, a random time after it has made progress (one in four: after it has begun), and
the next one resumes. Compared are
the bytes of everything that the run leaves and that holds no times: potentials, ensembles, labels
by teachers, errors, configurations.
"""

import argparse
import os
import random
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

WITH_TIMES = {
    "provenance.json", "summary.json", "metrics.csv", "metrics.jsonl", "report.html",
}  # fmt: skip
WORKER = "import sys; from jmlip.cli.main import main; sys.exit(main(sys.argv[1:]))"


def write_task(directory: Path, epochs: int) -> Path:
    """Data and a configuration for either command."""
    from jmlip.data import write
    from tests.cli.molecules import CONFIG, hydrogen

    directory.mkdir(parents=True, exist_ok=True)
    write(directory / "hydrogen.xyz", hydrogen(30, 0))
    write(directory / "held-out.xyz", hydrogen(10, 1))
    config = CONFIG.replace("max_epochs = 60", f"max_epochs = {epochs}\n{OFTEN}")
    config = config.replace("\n[model]", 'hide = ["forces"]\n\n[model]')
    (directory / "distill.toml").write_text(config + TEACHERS)
    energies_only = config.replace("forces = {weight = 1.0}\n", "")
    (directory / "ensemble.toml").write_text(energies_only)
    return directory


OFTEN = "checkpoint_every_minutes = 0"
TEACHERS = "\n[teacher]\nmembers = 2\n\n[targets]\nlabels = ['forces']\n"


def start(options: argparse.Namespace, run: Path) -> subprocess.Popen:
    """A process that goes on with the run, past its imports."""
    words = [options.command, options.directory / f"{options.command}.toml", "--run", run]
    words += ["--resume", *(["--members", "3"] if options.command == "ensemble" else [])]
    words += [word for one in options.set for word in ("--set", one)]
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def require_success(process: subprocess.Popen) -> None:
    said, _ = process.communicate()
    if process.returncode != 0:
        sys.exit(f"a run that was not killed ended with status {process.returncode}: {said}")


def kill_and_resume(options: argparse.Namespace, run: Path, longest: float) -> int:
    """How often the kill struck before the run came to its end."""
    draw = random.Random(options.seed)
    for struck in range(options.kills):
        before, process = state_of(run), start(options, run)
        # one kill in four may strike while a process finds its place again
        if draw.random() > 0.25:
            while process.poll() is None and state_of(run) == before:
                time.sleep(0.01)
        delay = draw.uniform(0.0, longest)
        time.sleep(delay)
        if process.poll() is not None:
            require_success(process)
            return struck
        process.kill()
        process.communicate()
        print(f"kill {struck} after {delay:.2f} s: {state_of(run)}", flush=True)
    require_success(start(options, run))
    return options.kills


def state_of(run: Path) -> str:
    """What a killed run had begun: the last checkpoint of each part, and its other directories."""
    words = []
    for place, names, _ in os.walk(run):  # which does not mind what vanishes meanwhile
        steps = [name for name in names if name.isdigit()]
        if steps:
            part = Path(place).parent.relative_to(run)
            words.append(f"{part} at step {int(max(steps))}")
    words += [name for name in ("targets", "ensemble", "errors.json") if (run / name).exists()]
    return ", ".join(sorted(words)) or "nothing yet"


def contents(run: Path) -> dict[Path, bytes]:
    """The files of a finished run that hold no times; checkpoints are no result."""
    return {
        path.relative_to(run): path.read_bytes()
        for path in run.rglob("*")
        if path.is_file() and path.name not in WITH_TIMES and "checkpoints" not in path.parts
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("ensemble", "distill"))
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--directory", type=Path, required=True)
    options = parser.parse_args()
    place = write_task(options.directory, options.epochs)
    require_success(start(options, place / "compiled"))  # fills the cache of compiled programs
    whole, killed = place / "whole", place / "killed"
    process, begun = start(options, whole), time.monotonic()
    require_success(process)
    seconds = time.monotonic() - begun
    print(f"uninterrupted: {seconds:.1f} s after its imports", flush=True)
    struck = kill_and_resume(options, killed, 2.0 * seconds / (options.kills + 1))
    one, other = contents(whole), contents(killed)
    wrong = sorted(str(p) for p in one.keys() | other.keys() if one.get(p) != other.get(p))
    verdict = f"DIFFER in {', '.join(wrong)}" if wrong else "are the same bytes"
    print(f"{options.command}, {struck} kills: {len(one)} files {verdict}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
