"""Train small, conventional and co-trained models of liquid water, score them, print the table.

    python -m experiments.mts_water.run small conventional pair distilled --seeds 0
    python -m experiments.mts_water.run --table

The data are 320 frames of 64 molecules, the water example of github.com/deepmodeling/deepmd-kit;
every sixth of them is held out.
"""

from pathlib import Path

from experiments.pair_study import run

if __name__ == "__main__":
    run(__doc__ or "", Path(__file__).parent, data="water")
