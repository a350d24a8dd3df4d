"""Internal units are eV, angstrom and u; every constant is the value of its name in them.

Time is angstrom * sqrt(u / eV) = 10.18 fs, so a time step of half a femtosecond is written
`0.5 * units.FS`. Stress is eV / angstrom^3, tension positive. The constants are CODATA 2014, those
of `ase.units` (a test compares them).

>>> round(1.0 / FS, 4)
10.1805
>>> round(300 * KELVIN, 6)
0.025852
"""

EV = 1.0
ANGSTROM = 1.0
DALTON = 1.0

KELVIN = 8.617330337217213e-05
"""Boltzmann's constant: `temperature_K * KELVIN` is kT in eV."""

FS = 0.09822694788464063
PS = 1000.0 * FS
NS = 1.0e6 * FS

HARTREE = 27.211386024367243
BOHR = 0.5291772105638411
KCAL_PER_MOL = 0.04336410390059322
KJ_PER_MOL = 0.010364269574711572
MEV = 1.0e-3
GPA = 0.006241509125883258
BAR = 1.0e-4 * GPA

ENERGY_UNITS = {
    "eV": EV,
    "meV": MEV,
    "hartree": HARTREE,
    "Ha": HARTREE,
    "kcal/mol": KCAL_PER_MOL,
    "kJ/mol": KJ_PER_MOL,
}
LENGTH_UNITS = {"angstrom": ANGSTROM, "A": ANGSTROM, "bohr": BOHR, "nm": 10.0 * ANGSTROM}
STRESS_UNITS = {"eV/A^3": 1.0, "GPa": GPA, "bar": BAR, "hartree/bohr^3": HARTREE / BOHR**3}
