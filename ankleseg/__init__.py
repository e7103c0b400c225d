"""ankleseg: MRI of moving joints, the brain and the spinal cord, from scanner files to measurements."""

__version__ = "0.1.0"
