"""The methods by which a picture becomes an image that a network takes, by name.

Nothing here imports TensorFlow, so that a wrong flag is answered at once.
"""

# As MNIST was made, from the digit that is drawn on it; or resized, and else as it is.
PICTURES = DIGIT, PLAIN = ("digit", "plain")
