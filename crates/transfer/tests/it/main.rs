//! Images copied between places: first between places in memory, whose every call is written down,
//! then between the files of layouts and archives.

mod archives;
mod copies;
mod images;
mod layouts;
mod memory;
