"""Atomic energies to energies, forces and stress; potentials on disk."""
