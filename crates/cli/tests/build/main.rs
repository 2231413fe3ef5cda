//! Building plain Dockerfiles with the program itself: what users see, and what is left behind.

mod agents;
mod cache;
mod checks;
mod contexts;
mod deep;
mod errors;
mod flags;
mod foreign;
mod host_ca;
mod inputs;
mod interrupt;
mod kept;
mod lab;
mod limits;
mod lint;
mod outputs;
mod repositories;
mod reproducible;
mod rootless;
mod secrets;
mod sharing;
mod stages;
