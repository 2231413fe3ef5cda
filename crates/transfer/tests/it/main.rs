//! Images copied between places: first between places in memory, whose every call is written down,
//! then between the files of layouts and archives.

#![expect(
    clippy::unwrap_used,
    reason = "what these tests take for granted is in their own hands"
)]

mod archives;
mod copies;
mod images;
mod layouts;
mod memory;
