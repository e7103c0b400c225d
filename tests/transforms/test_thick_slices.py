EXAMPLES = {"ThickSlicesd": {"finest": (None, None, None)}}
