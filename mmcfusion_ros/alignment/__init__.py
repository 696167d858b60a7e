REFINEMENT_MODES = ("off", "monitor", "correct", "dense")  # here: the node loads the rest only where it is asked for
