"""The world outside the package: Docker, drivers, GPUs, variants and back ends. Standard library only, Python 3.9 or newer."""
