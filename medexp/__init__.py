"""medexp: config-driven experiments for medical imaging with deep learning."""

__version__ = "0.1.0"
