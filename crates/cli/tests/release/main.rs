//! Families released from beginning to end by the real program, against registries on this machine.
//!
//! Nothing here needs a network: what images are made from is a static busybox.

mod bad_archives;
mod bad_input;
mod clients;
mod family;
mod faults;
mod features;
mod fixture;
mod kill;
mod lab;
mod lab_registry;
mod lint;
mod npm;
mod platforms;
mod registries;
mod registry_serve;
mod repositories;
mod secrets;
mod smoke;
mod versions;
mod wire;
