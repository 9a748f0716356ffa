"""A trained run, rebuilt from its folder.

run = runs.load("runs/cdrl_digits")
images = run.generate(64, seed=0).x  # (64, 1, 8, 8) in about [-1, 1]
run = runs.Run(method, generation, data)  # or one's own networks, without a folder
"""

from modules.runs.data_record import DataRecord
from modules.runs.folder import CONFIG, IMPORTS, is_bound, save_config, saved_config
from modules.runs.loading import load
from modules.runs.pretrained import from_pretrained
from modules.runs.run import Run

__all__ = [
    "CONFIG",
    "IMPORTS",
    "DataRecord",
    "Run",
    "from_pretrained",
    "is_bound",
    "load",
    "save_config",
    "saved_config",
]
