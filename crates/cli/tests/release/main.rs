//! Families released from beginning to end by the real program, against registries on this machine.
//!
//! Nothing here needs a network: what images are made from is a static busybox.

mod family;
mod faults;
mod features;
mod kill;
mod lab;
mod platforms;
mod registries;
mod smoke;
mod versions;
mod wire;
