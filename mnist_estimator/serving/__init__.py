"""Networks put to use: signatures, exports for servers and phones, predictions on pictures.

May import `scoring` and what comes before it.
"""
