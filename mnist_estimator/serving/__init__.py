"""A SavedModel, a .tflite file, and the answers of a model to pictures.

May import `pictures`, `data`, `runs` and what these may.
"""
