"""Train small, conventional and co-trained models of aspirin, score them, print the table.

    python -m experiments.mts_molecule.run small conventional pair --seeds 0 1 2
    python -m experiments.mts_molecule.run frozen free slow           other ways to train the pair
    python -m experiments.mts_molecule.run --table

The data are aspirin of rMD17 at PBE/def2-SVP: 1200 frames, every sixth of them held out.
"""

from pathlib import Path

from experiments.pair_study import run

if __name__ == "__main__":
    run(__doc__ or "", Path(__file__).parent, data="aspirin")
