"""The world outside the package: Docker, drivers, GPUs, variants, back ends. Standard library only, Python >= 3.9."""
