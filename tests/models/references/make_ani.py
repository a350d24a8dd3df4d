"""Energies and forces of torchani on random parameters, for `tests/models/test_ani.py`.

    python tests/models/references/make_ani.py        in an environment with torchani 2.9

The parameters are drawn by NumPy from a seed, so that only the results need to be kept.
"""

import json
from pathlib import Path

import numpy as np

SPECIES, HIDDEN = (1, 6, 8), (10, 7)
STEP = 1e-3  # angstrom, of the differences
RADIAL = {"eta": 16.0, "cutoff": 5.2, "shifts": np.linspace(0.9, 5.2, 17)[:-1].tolist()}
ANGULAR = {
    "eta": 8.0, "zeta": 32.0, "cutoff": 3.5, "shifts": np.linspace(0.9, 3.5, 5)[:-1].tolist(),
    "sections": [(2 * n + 1) * np.pi / 16 for n in range(8)],
}  # fmt: skip
"""What `ANIConfig` has as defaults, spelled out for torchani."""


def draw(n_inputs: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Kernels and biases of all elements, layer by layer."""
    generator, layers = np.random.default_rng(5), []
    for width in (*HIDDEN, 1):
        kernel = generator.normal(size=(len(SPECIES), n_inputs, width)) * (2.0 / n_inputs) ** 0.5
        layers.append((kernel, 0.1 * generator.normal(size=(len(SPECIES), width))))
        n_inputs = width
    return layers


def molecule() -> tuple[np.ndarray, np.ndarray]:
    """Twelve atoms, some nearer than either cutoff, some not."""
    generator = np.random.default_rng(9)
    positions = np.zeros((1, 3))
    while len(positions) < 12:
        trial = generator.uniform(-3.0, 3.0, 3)
        if np.linalg.norm(positions - trial, axis=1).min() > 1.0:
            positions = np.vstack([positions, trial])
    return np.array([0, 1, 2] * 4), positions


def main() -> None:
    import torch
    from torchani.aev import AEVComputer, ANIAngular, ANIRadial

    radial = ANIRadial(eta=RADIAL["eta"], shifts=RADIAL["shifts"], cutoff=RADIAL["cutoff"])
    angular = ANIAngular(**{k: v for k, v in ANGULAR.items() if k != "cutoff"}, cutoff=3.5)
    # torchani rounds its constants to float32 when it is made
    for part, constants in ((radial, RADIAL), (angular, ANGULAR)):
        part.double()
        for name, buffer in part.named_buffers():
            buffer.copy_(torch.tensor(constants[name], dtype=torch.float64).reshape(buffer.shape))
    computer = AEVComputer(radial, angular, num_species=len(SPECIES)).double()
    index, start = molecule()

    def evaluate(positions: np.ndarray) -> tuple[torch.Tensor, list[float]]:
        aev = computer(torch.tensor(index[None]), torch.tensor(positions[None]))[0]
        layers = [[torch.tensor(array) for array in layer] for layer in draw(aev.shape[-1])]
        energies = []
        for x, s in zip(aev, index, strict=True):
            for i, (kernel, bias) in enumerate(layers):
                x = x @ kernel[s] + bias[s]
                if i < len(HIDDEN):
                    x = torch.nn.functional.celu(x, 0.1)
            energies.append(float(x[0]))
        return aev, energies

    aev, energies = evaluate(start)
    # fourth order; torchani's own gradients agree with these to 1e-8 only
    forces, stencil = np.zeros(start.shape), ((-2, 1), (-1, -8), (1, 8), (2, -1))
    for place in np.ndindex(start.shape):
        for steps, weight in stencil:
            moved = start.copy()
            moved[place] += steps * STEP
            forces[place] -= weight * sum(evaluate(moved)[1]) / (12.0 * STEP)
    found = {
        "aev_sums": aev.sum(dim=0).tolist(),
        "atomic_energies": energies,
        "forces": forces.tolist(),
    }
    (Path(__file__).parent / "ani.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
