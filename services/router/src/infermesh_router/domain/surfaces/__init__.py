"""The wires that clients may speak, as translations to and from OpenAI's chat form."""
