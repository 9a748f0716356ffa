"""A data set of your own pictures: one folder a class, read once and kept in memory.

PICTURES/cats/*.png, PICTURES/dogs/*.png, ...

accelerate launch launch.py --gin gin/cdrl_digits_cond.gin --import examples/own_pictures.py \
    --set "Trainer.data=@FolderOfClasses()" --set 'FolderOfClasses.folder="PICTURES"' \
    --set "FolderOfClasses.shape=%SHAPE" --set "SHAPE=(3, 32, 32)" \
    --set "FolderOfClasses.num_classes=%NUM_CLASSES" --set "NUM_CLASSES=2" \
    --set "Trainer.evaluation=None" --set "Trainer.best=None" --output runs/pictures

`HuggingFaceData` reads such folders too; this is how any other source is read.
"""

from pathlib import Path

import gin
import torch

from modules.core import DataError
from modules.data import Data, MemoryExamples, read_image, to_bytes


@gin.register
class FolderOfClasses(Data):
    """Pictures of any size and mode, the centred window of the wanted shape scaled to it.

    Args:
        folder: with a folder for each class.
        shape: (channels, height, width) of an example.
        num_classes: how many there must be; 0: without labels.
    """

    def __init__(self, folder, shape, num_classes=0):
        super().__init__(shape, num_classes)
        self.folder = folder

    def open(self):
        classes = sorted(path for path in Path(self.folder).glob("*") if path.is_dir())
        if not classes or self.num_classes not in (0, len(classes)):
            raise DataError(f"{self.folder} has {len(classes)} folders of pictures: set NUM_CLASSES to that")
        files = [(number, file) for number, path in enumerate(classes) for file in sorted(path.glob("*.*"))]
        images = torch.stack([to_bytes(read_image(file, self.shape)) for _, file in files])
        self.class_names = [path.name for path in classes] if self.num_classes else []
        labels = torch.tensor([number for number, _ in files]) if self.num_classes else None
        return MemoryExamples(images, labels, self.class_names)
