EXAMPLES = {
    "RandForegroundCropd": {
        "keys": ("image", "label", "foreground"),
        "size": (8, 7),
        "min_foreground": 0.5,
        "margin": 1,
    },
}
