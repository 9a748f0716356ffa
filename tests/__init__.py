"""A package, for torch-fidelity installs one of the same name, which would hide a mere folder."""
