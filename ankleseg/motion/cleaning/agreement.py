"""Whether bone masks belong to the scan: by the edges of the image, the foot around them, and each other."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import combinations
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Shaped

from ankleseg.motion.cleaning.anatomy import bone_points
from ankleseg.volumes import Finding, Verdict, Volume
from ankleseg.volumes.geometry import Affine, bounding_box, spacing

Masks = dict[str, Bool[np.ndarray, "x y z"]]
Foreground = Bool[np.ndarray, "x y z"]
Told = tuple[str, Verdict, str, str]  # bone, verdict, problem, mend

FIND, LOOK = "find the mask that was drawn on this scan", "look at it over the scan"

# Of masks on their own scan 0.65 and more was found (phantoms of any contrast, real bones in phantoms; real MRI of
# other organs with manual masks: mostly 0.8 to 0.9), of masks of another child on the same grid 0.4 (nine in ten:
# below 0.56; all three bones together: below 0.6).
LEAST_ALIGNED, LEAST_ALIGNED_TOGETHER, USUALLY_ALIGNED = 0.5, 0.62, 0.62
LEAST_OF_OTHERS = 0.75  # share of the mean alignment of the other bones, which lie in the same contrast
EDGE_MM = 1.0  # standard deviation of the smoothing before edges are sought
THIN_MM = 0.8  # voxels are averaged to about this size first
AROUND_MM = 6.0
MOST_EDGES = 4000

VOLUMES_ML = {"calcaneus": (10, 100), "talus": (5, 60), "tibia": (3, 300)}  # child to adult; of the tibia, what is seen
MOST_OUTSIDE, RARELY_OUTSIDE = 0.3, 0.1  # share of a bone outside the foot
MOST_GAP_MM = 15.0  # between neighbours: joint space and the cartilage of a child fit in several times
MOST_SHARED, SAME_BONE = 0.005, 0.5  # of the smaller of two bones


def check_bones(
    files: Mapping[str, Path], scan: Volume, foot: Foreground, masks: Masks, predicted: Collection[str] = ()
) -> tuple[Masks, list[Finding], dict[str, str]]:
    """Leave out the masks that were not drawn on this scan, and say why, and what is odd about the others.

    Args:
        files: of each bone.
        scan: the static scan.
        foot: where the foot is in it.
        masks: of each bone, on the grid of the scan; none is empty.
        predicted: the bones that a network segmented on this very scan: an outline beside the edges is a poor
            segmentation, which stays with a doubt, and no mask of another scan.

    Returns:
        The masks that stay, the findings, and why there is a doubt about a mask.
    """
    drawn = {bone: mask for bone, mask in masks.items() if bone not in predicted}
    others = {bone: mask for bone, mask in masks.items() if bone in predicted}
    outlines = _by_outline(scan, foot, others)
    findings = [Finding(files[bone], Verdict.SUSPECT, problem, LOOK) for bone, _, problem, _ in outlines]
    for rule in (_by_outline, _by_foot, _by_size, _by_overlap, _by_place):
        found = rule(scan, foot, drawn if rule is _by_outline else masks)
        findings += [Finding(files[bone], verdict, problem, mend) for bone, verdict, problem, mend in found]
        dropped = {bone for bone, verdict, _, _ in found if verdict is Verdict.DIFFERENT}
        masks = {bone: mask for bone, mask in masks.items() if bone not in dropped}
    doubts = {bone: text for bone, verdict, text, _ in outlines if verdict is Verdict.DIFFERENT and bone in masks}
    return masks, findings, doubts


def _by_outline(scan: Volume, foot: Foreground, masks: Masks) -> list[Told]:
    aligned = {bone: edge_alignment(scan.data, scan.affine, mask) for bone, mask in masks.items()}
    together = float(np.mean(list(aligned.values()))) if len(aligned) > 1 else 1.0
    told = []
    for bone, value in aligned.items():
        others = [other for key, other in aligned.items() if key != bone]
        least = max(LEAST_ALIGNED, LEAST_OF_OTHERS * float(np.mean(others))) if others else LEAST_ALIGNED
        if value < least or together < LEAST_ALIGNED_TOGETHER:
            problem = f"its outline does not follow the edges of {_name(scan)} (alignment {value:.2f})"
            told.append((bone, Verdict.DIFFERENT, problem, FIND))
        elif value < USUALLY_ALIGNED:
            problem = f"its outline hardly follows the edges of {_name(scan)} (alignment {value:.2f})"
            told.append((bone, Verdict.SUSPECT, problem, LOOK))
    return told


def _by_foot(scan: Volume, foot: Foreground, masks: Masks) -> list[Told]:
    told = []
    for bone, mask in masks.items():
        outside = 1 - np.count_nonzero(foot & mask) / np.count_nonzero(mask)
        problem = f"{outside:.0%} of it lie outside the foot of {_name(scan)}"
        if outside > MOST_OUTSIDE:
            told.append((bone, Verdict.DIFFERENT, problem, FIND))
        elif outside > RARELY_OUTSIDE:
            told.append((bone, Verdict.SUSPECT, problem, LOOK))
    return told


def _by_size(scan: Volume, foot: Foreground, masks: Masks) -> list[Told]:
    told = []
    for bone, mask in masks.items():
        volume = np.count_nonzero(mask) * float(scan.spacing.prod()) / 1000
        low, high = VOLUMES_ML.get(bone, (0, np.inf))
        if not low <= volume <= high:
            told.append((bone, Verdict.SUSPECT, f"has {volume:.1f} ml, and a {bone} has {low} to {high} ml", LOOK))
    return told


def _by_place(scan: Volume, foot: Foreground, masks: Masks) -> list[Told]:
    """The tibia lies on the talus, and this on the calcaneus."""
    from scipy.spatial import cKDTree

    points = bone_points(masks, scan.affine)
    if "talus" not in points:
        return []
    others = [bone for bone in ("calcaneus", "tibia") if bone in points]
    if len(others) == 2:
        axis = points["tibia"].mean(0) - points["calcaneus"].mean(0)
        along = (points["talus"].mean(0) - points["calcaneus"].mean(0)) @ axis / (axis @ axis)
        if not 0 < along < 1:
            problem = "does not lie as its name says: the talus is not between calcaneus and tibia"
            return [(bone, Verdict.DIFFERENT, problem, "check which mask is which bone") for bone in points]
    tree = cKDTree(points["talus"])
    gaps = {bone: float(tree.query(points[bone])[0].min()) for bone in others}
    far: dict[str, float] = {bone: gap for bone, gap in gaps.items() if gap > MOST_GAP_MM}
    if len(far) == 2:
        far = {"talus": min(far.values())}
    return [(bone, Verdict.DIFFERENT, f"lies {gap:.0f} mm from the bone beside it", FIND) for bone, gap in far.items()]


def _by_overlap(scan: Volume, foot: Foreground, masks: Masks) -> list[Told]:
    told = []
    for first, second in combinations(masks, 2):
        smaller, larger = sorted((first, second), key=lambda bone: int(np.count_nonzero(masks[bone])))
        shared = np.count_nonzero(masks[first] & masks[second]) / np.count_nonzero(masks[smaller])
        if shared > SAME_BONE:
            problem = f"shares {shared:.0%} of the {smaller} with the mask of another bone"
            told += [(bone, Verdict.DIFFERENT, problem, "find the mask of each bone") for bone in (first, second)]
        elif shared > MOST_SHARED:
            mend = "correct the masks, each voxel belongs to one bone"
            told.append((smaller, Verdict.SUSPECT, f"shares {shared:.1%} of its voxels with the {larger}", mend))
    return told


def _name(scan: Volume) -> str:
    return scan.path.name if scan.path else "the scan"


def edge_alignment(image: Shaped[np.ndarray, "x y z"], affine: Affine, mask: Bool[np.ndarray, "x y z"]) -> float:
    """Say how well the outline of a mask follows the edges of an image: 1 everywhere, ⅓ by chance.

    The square of the image's gradient along the normal of the outline, as a share of the square of the whole gradient,
    both summed over the outline. A bright and a dark structure are alike to it, and so is any smooth shading.
    """
    from scipy import ndimage

    size = spacing(affine)
    around = np.ceil(AROUND_MM / size).astype(int)
    box = bounding_box(mask, around.tolist())
    factors = np.maximum(np.rint(THIN_MM / size), 1).astype(int)
    size = size * factors
    part, whole = (averaged(array[box], factors) for array in (image, mask))
    gradient, normal = (np.stack(np.gradient(ndimage.gaussian_filter(a, EDGE_MM / size), *size)) for a in (part, whole))
    inside = whole > 0.5
    outline = np.flatnonzero(inside & ~ndimage.binary_erosion(inside, border_value=1))
    outline = outline[:: max(len(outline) // MOST_EDGES, 1)]
    edges, normals = gradient.reshape(3, -1)[:, outline], normal.reshape(3, -1)[:, outline]
    normals = normals / np.maximum(np.linalg.norm(normals, axis=0), 1e-9)
    strength = float((edges**2).sum())
    return float(((edges * normals).sum(0) ** 2).sum()) / strength if strength > 0 else 0.0


def averaged(data: Shaped[np.ndarray, "x y z"], factors: Shaped[np.ndarray, "3"]) -> Float[np.ndarray, "u v w"]:
    """Average blocks of voxels, float32; what does not fill a block at the far ends is left out."""
    counts = [max(side // int(factor), 1) for side, factor in zip(data.shape, factors, strict=True)]
    blocks = [min(int(factor), side) for side, factor in zip(data.shape, factors, strict=True)]
    cut = data[tuple(slice(count * block) for count, block in zip(counts, blocks, strict=True))]
    shape = [side for pair in zip(counts, blocks, strict=True) for side in pair]
    return cut.reshape(shape).mean((1, 3, 5), dtype=np.float32)
