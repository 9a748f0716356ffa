"""Make modules/data/digits.parquet from scikit-learn's copy of the UCI handwritten digits (CC BY 4.0).

    python benchmarks/make_digits.py

1,797 grey images of 8x8 in the order of the source; ink 0..16 becomes round(255·ink/16).
"""

from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as Pillow
from sklearn.datasets import load_digits

source = load_digits()
pixels = np.round(source.images * 255 / 16).astype(np.uint8)
rows = {"image": [Pillow.fromarray(p) for p in pixels], "label": source.target.tolist()}
features = Features({"image": Image(), "label": ClassLabel(names=[str(d) for d in range(10)])})
path = Path(__file__).parents[1] / "modules" / "data" / "digits.parquet"
Dataset.from_dict(rows, features=features).to_parquet(path)
print(path, path.stat().st_size, "bytes")
