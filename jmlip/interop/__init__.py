"""Potentials inside other programs."""
