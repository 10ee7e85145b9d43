//! PROXY protocol: a trusted peer says whose connection it passes on, and nobody else does.
