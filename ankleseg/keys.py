"""The names that travel in a sample and in a batch, each with its shape, unit and meaning.

B: batch, C: channels, K: structures, ``*spatial``: the patch or the volume in the prepared space.
"""

CASE = "case"  # str, name of the case a sample was cut from
SEQUENCE = "sequence"  # str, file of the sequence that a case is a frame of, "" for a scan
SIDE = "side"  # "left", "right" or "" | of the body that was scanned
IMAGE = "image"  # (B, C, *spatial) float32 | prepared intensities (z-scored, or scaled as the preparation says)
LABEL = "label"  # (B, 1, *spatial) label map, 0 background, k the k-th structure; or (B, K, *spatial) masks of regions
FOREGROUND = "foreground"  # (B, 1, *spatial) bool | the foot, the body, the brain: where patches are drawn
TARGET = "target"  # (B, C, *spatial) float32 | what the image is to become: sharper, or of other noise
MOVING = "moving"  # (B, C, *spatial) float32 | prepared scan that is registered to the image, on the grid of the image
MOVING_LABEL = "moving_label"  # as LABEL, of the moving scan
DISPLACEMENT = "displacement"  # (B, D, *spatial) float32 voxels | true one: moving(x + u(x)) shows what image(x) does
CORRELATION = "correlation"  # (B,) float32 | of image and target of a patch
SLICE_THICKNESS = "slice_thickness"  # (B,) float32 mm | of the scan that an image was interpolated from
KNOWN = "known"  # (B, K) bool | whether the reference of each structure is to be believed; absent where all are

# beside a single sample, for transforms
AFFINE = "affine"  # (4, 4) float64 mm | voxel to world of the prepared volume, where the tensors carry none themselves
SCALE = "image_scale"  # (C, 3) float64 | offset, factor and whether clipped: the way back to the input's intensities
RANGE = "image_range"  # (C, 2) float32 | darkest intensity of the scan, and the bright end of its foreground
CENTRELINE = "centreline"  # (N, 3) float64 mm | axis of the cord in the world, a point a slice from its lower end up
WINDOWS = "windows"  # where patches may lie, counted once a case
WINDOW = "window"  # (2, 3) int | voxels of the volume at which a patch begins and ends, reversed where it was flipped
VOLUME_SHAPE = "volume_shape"  # (3,) int | sides of the volume that a patch was cut from
