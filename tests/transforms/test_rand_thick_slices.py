EXAMPLES = {
    "RandThickSlicesd": {"finest": (None, None, 1.2), "coarsest": (None, None, 2.0), "size": (8, 9, 7), "noise": 0.02},
}
