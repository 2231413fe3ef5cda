//! The embedded registry as the program runs it: killed at any moment, and beside the clients of
//! others.

mod builds;
mod clients;
mod crash;
mod logins;
mod serving;
mod wire;
