EXAMPLES = {
    "RandAnatomicalFlipd": {"keys": ("image", "label", "foreground"), "axes": ("LR", "PA", "IS"), "pairs": [(1, 2)]},
}
