//! Things that only tests need: servers that answer by script, and later fixtures.
//!
//! Everything here listens on 127.0.0.1 on a port of its own and stops when dropped.

pub mod browser;
pub mod conform;
pub mod corpus;
pub mod flatten;
pub mod git;
pub mod http;
pub mod peers;
pub mod proxy;

use std::fmt::Write as _;

/// The digest of some bytes, as registries write it.
pub fn sha256(bytes: &[u8]) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    hash.as_ref()
        .iter()
        .fold("sha256:".to_owned(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a String cannot fail");
            text
        })
}
