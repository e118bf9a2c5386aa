"""`captioned_shapes`: scenes of simple objects, drawn and captioned, at any resolution."""
