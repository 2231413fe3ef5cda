//! The sandbox against the real kernel. Most tests need root and a static busybox, and say so when they skip.

mod common;
mod isolation;
mod layers;
mod limits;
mod rootless;
mod runs;
mod stacking;
