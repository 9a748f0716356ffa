"""The gin files travel inside `modules`: beside it their folder would be that of the package gin-config."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithRecipes(build_py):
    """Copies gin/ to modules/recipes/gin, where an installed program finds it."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            shutil.copytree("gin", Path(self.build_lib, "modules", "recipes", "gin"), dirs_exist_ok=True)


setup(cmdclass={"build_py": WithRecipes})
