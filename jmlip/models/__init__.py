"""Models: from pair vectors to atomic energies; each a Flax module and a frozen configuration."""
