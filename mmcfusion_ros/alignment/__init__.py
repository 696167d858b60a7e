REFINEMENT_MODES = ("off", "monitor", "correct")  # here, since the node loads the rest only where one is asked for
