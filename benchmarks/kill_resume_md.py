"""Kill molecular dynamics at random moments, take it up each time, and compare with a whole run.

    python benchmarks/kill_resume_md.py --kills 20 --suffix .h5md

Each run is a process of its own, killed with SIGKILL once its checkpoint has passed a random step
and a random delay is over. The trajectories must be the same bytes (HDF5: the same arrays).
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

LONGEST_DELAY = 0.2  # s, a few chunks


def main() -> None:
    options = parse()
    if options.run is not None:
        run(options, options.run)
        return
    with tempfile.TemporaryDirectory() as folder:
        options.cache = options.cache or Path(folder) / "cache"
        whole, parts = (Path(folder) / f"{name}{options.suffix}" for name in ("whole", "parts"))
        require_success(start(options, whole))
        killed_at = kill_and_resume(options, parts)
        from tests.md.systems import content

        same = content(whole) == content(parts)
    print(f"{options.ensemble}, {options.suffix}: killed {len(killed_at)} times, at {killed_at}")
    print("the trajectories are", "identical" if same else "DIFFERENT")
    sys.exit(not same)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--ensemble", default="csvr")
    parser.add_argument("--suffix", default=".xyz", choices=(".xyz", ".h5md"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="directory of compiled programs")
    parser.add_argument("--run", type=Path, help="only run, or go on, to this trajectory")
    return parser.parse_args()


def run(options: argparse.Namespace, out: Path) -> None:
    import jax

    from jmlip.md.config import MDConfig
    from jmlip.md.simulate import simulate
    from tests.md.systems import crystal, lennard_jones

    if options.cache:
        jax.config.update("jax_compilation_cache_dir", str(options.cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    config = MDConfig(
        ensemble=options.ensemble,
        timestep_fs=1.0,
        n_steps=options.steps,
        every=options.every,
        temperature_K=300.0,
        chunk_seconds=0.05,
    )
    simulate(lennard_jones(), crystal(), config, out, restart=True, progress=False)


def kill_and_resume(options: argparse.Namespace, out: Path) -> list[int]:
    """The steps of the checkpoints that the killed runs left."""
    rng = random.Random(options.seed)
    targets = sorted(rng.randrange(options.steps) for _ in range(options.kills))
    killed_at = []
    for target in targets:
        process = start(options, out)
        while checkpoint_step(out) < target:
            if process.poll() is not None:
                sys.exit(f"the run ended before step {target}, where it was to be killed")
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, LONGEST_DELAY))
        process.kill()
        process.wait()
        killed_at.append(checkpoint_step(out))
    require_success(start(options, out))
    return killed_at


def start(options: argparse.Namespace, out: Path) -> subprocess.Popen:
    command = [sys.executable, __file__, "--run", str(out)]
    for name in ("steps", "every", "ensemble", "cache"):
        if getattr(options, name) is not None:
            command += [f"--{name}", str(getattr(options, name))]
    return subprocess.Popen(command)


def checkpoint_step(out: Path) -> int:
    try:
        content = json.loads((out.with_name(out.name + ".restart") / "restart.json").read_text())
    except OSError:
        return -1
    return int(content["state"].removeprefix("state-").removesuffix(".safetensors"))


def require_success(process: subprocess.Popen) -> None:
    if process.wait() != 0:
        sys.exit(f"a run that was not killed ended with status {process.returncode}")


if __name__ == "__main__":
    main()
