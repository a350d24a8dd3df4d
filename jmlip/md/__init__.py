"""Molecular dynamics with potentials."""
