"""Padded graphs and neighbor lists."""
