"""The field's published solvers with their settings and quirks, as planners of ours.

They act in standardised, unbounded actions and return what their searches end with. Sources: stable-worldmodel (galilai-group,
addbab4), DINO-WM (gaoyuezhou, 0a9492f), and the solver of GRASP's author for LeWM (michael-psenka, e34da79).
"""
