//! The agents of several nodes on a made-up network, and what must never happen.
