"""The embedding stage: texts → vectors."""
