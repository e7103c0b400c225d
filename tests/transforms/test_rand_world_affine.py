EXAMPLES = {
    "RandWorldAffined": {
        "keys": ("image", "label"),
        "rotate": 8,
        "zoom": (0.9, 1.1),
        "shift": 1.0,
        "size": (13, 14, 12),
    },
}
