"""Trajectories to observables: distributions of distances, lines through series."""
