"""The build of the package; pyproject.toml says everything but this: the commands of the root are modules of it."""

from setuptools import setup
from setuptools.command.build_py import build_py

COMMANDS = ("train", "test", "infer", "export", "demo")


class BuildWithCommands(build_py):
    """Adds train.py, test.py, infer.py, export.py and demo.py: `python -m video_zoo.train` in an installation."""

    def find_package_modules(self, package, package_dir):
        modules = super().find_package_modules(package, package_dir)
        if package == "video_zoo":
            modules += [(package, name, f"{name}.py") for name in COMMANDS]
        return modules


setup(cmdclass={"build_py": BuildWithCommands})
