"""Trajectories to observables: distances, angles, motion, vibrations, energies, and errors."""
