"""What passes through a researcher's socket: operations, bounds of what is said, signs of injection.

Both sides of the wall read it, so it needs the standard library alone and knows neither.
"""
