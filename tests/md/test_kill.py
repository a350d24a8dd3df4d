"""A run that is killed goes on where it was: one random moment here, twenty in the benchmark."""

import argparse
import random
import time

import jax

from benchmarks import kill_resume_md
from tests.md.systems import content


def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    cache = jax.config.jax_compilation_cache_dir
    options = argparse.Namespace(steps=700, every=10, ensemble="csvr", cache=cache)
    whole, parts = tmp_path / "whole.h5md", tmp_path / "parts.h5md"
    process = kill_resume_md.start(options, parts)
    try:
        while kill_resume_md.checkpoint_step(parts) < 100:
            assert process.poll() is None
            time.sleep(0.001)
        time.sleep(random.Random(0).uniform(0.0, kill_resume_md.LONGEST_DELAY))
    finally:
        process.kill()
        process.wait()
    assert 100 <= kill_resume_md.checkpoint_step(parts) < 700
    options.cache = None  # the compilation cache of the tests is in use already
    for path in (whole, parts):
        kill_resume_md.run(options, path)
    assert content(parts) == content(whole)
