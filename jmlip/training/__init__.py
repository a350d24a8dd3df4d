"""Losses, optimizers and the loop that fits a potential to data."""
