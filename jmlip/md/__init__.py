"""Molecular dynamics with potentials.

`simulate.simulate` runs a `config.MDConfig` to a trajectory on disk. Its parts are functions of
their own, to be put together in other ways, under `jit`, `vmap` and `grad`:

    force_fn = forces.make_force_fn(potential, structure, dtype="float32", skin=0.5)
    integrator = integrators.make_langevin(force_fn, dt=0.5 * FS, kT=300 * KELVIN, friction=1 / PS)
    neighbors = forces.allocate_neighbors(potential, structure, positions, cell, skin=0.5)
    state = integrator.init(positions, momenta, mass, cell, (neighbors,), key)
    state = jax.jit(integrator.step)(state)

The `status` of all `state.neighbors` must stay 0: if not, a list is full, and the step was wrong.
"""
