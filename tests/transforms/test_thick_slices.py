EXAMPLES = {"ThickSlicesd": {"finest": (None, None, 2.0)}}
