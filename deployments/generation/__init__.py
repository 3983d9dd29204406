"""The generation stage: a prompt → a streamed answer."""
