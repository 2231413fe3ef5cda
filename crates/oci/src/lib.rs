//! Layers, manifests and the local store.

pub mod spec;
