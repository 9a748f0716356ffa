"""A composition of two models: the product of their densities, as a sum of their energies.

python examples/compose_two.py runs/one runs/other composed.png
"""

import sys

from modules import runs
from modules.report import save_samples


def compose(first, second, weights=(1.0, 1.0), num=16):
    """Samples (num, *shape) of energies w_1 E_1 + w_2 E_2; the runs must share their ladder.

    Args:
        first, second: folders of runs, or names on the Hub of shared ones.
    """
    one, other = (runs.from_pretrained(name) for name in (first, second))
    return one.composed_with([other], list(weights)).generate(num, seed=0).x


if __name__ == "__main__":
    save_samples(compose(sys.argv[1], sys.argv[2]), [], sys.argv[3])
