"""Trajectories to observables."""
