"""Numbers of the server under test at quiet points, from inside and from outside. Judges nothing."""
