//! Models of the parts of campana that threads share, for loom to run in every order that the memory model allows.
