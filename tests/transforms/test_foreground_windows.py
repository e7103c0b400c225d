EXAMPLES = {"ForegroundWindowsd": {"size": (8, 7), "min_foreground": 0.5}}
