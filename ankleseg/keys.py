"""The names that travel in a batch, each with its shape, unit and meaning.

B: batch, C: channels, K: structures, ``*spatial``: the patch or the volume in the prepared space.
"""

CASE = "case"  # str, name of the case a sample was cut from
IMAGE = "image"  # (B, C, *spatial) float32 | prepared intensities (z-scored, or scaled as the recipe says)
LABEL = "label"  # (B, 1, *spatial) int64 | 0 background, k the k-th structure of the task
FOREGROUND = "foreground"  # (B, 1, *spatial) bool | the foot, the body, the brain: where patches are drawn
TARGET = "target"  # (B, C, *spatial) float32 | what the image is to become: sharper, or of other noise
CORRELATION = "correlation"  # (B,) float32 | of image and target of a patch
SLICE_THICKNESS = "slice_thickness"  # (B,) float32 mm | of the scan that an image was interpolated from
KNOWN = "known"  # (B, K) bool | whether the reference of each structure is to be believed; absent where all are
