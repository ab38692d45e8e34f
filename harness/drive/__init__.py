"""Makes calls to the server under test, singly and in batches, and controls their speed. Judges nothing."""
