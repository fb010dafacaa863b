"""Students and teachers behind one protocol: probes on fixed features, and fine-tuned language models.

Importing this package imports no torch; `huggingface` does, when a model is fitted.
"""
