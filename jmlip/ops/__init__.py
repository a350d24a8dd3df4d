"""Numerical kernels: safe functions, cutoffs, radial functions, tensors, host neighbor lists."""
