"""HTTP simulation of the external services: language model, moderation, video generation and publishing.

The package imports nothing of the product.
"""
