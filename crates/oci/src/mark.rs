//! Marks: which things of the store are known to be whole, and when each was last used.
//!
//! Nothing is flushed to disk when it is made, which would cost every build. As long as the machine
//! runs, what has its final name is whole, since the kernel shows everybody the same files. After a
//! loss of power that is not so: a name may have reached the disk before the content. So a mark says
//! in which boot a thing was made. What was made in this one is believed; what was made in an
//! earlier one is hashed before its first use, and then marked as settled for good. A mark that is
//! lost, cut off or older only means to look once more.
//!
//! The time of a mark is when the thing was last used. Access times would not do: they are often
//! turned off, and every backup is an access.

use std::fs::{self, File};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::StoreError;
use crate::error::At;

/// Where Linux tells which boot this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const SETTLED: &str = "settled\n";

/// The name of this boot. Without one nothing of another process is believed unseen.
pub(crate) fn this_boot() -> String {
    match fs::read_to_string(BOOT_ID) {
        Ok(id) => id.trim().to_owned(),
        Err(_) => format!("unknown-{}", std::process::id()),
    }
}

/// Says that a thing is made now.
pub(crate) fn write(path: &Path, boot: &str) -> Result<(), StoreError> {
    fs::write(path, format!("boot {boot}\n")).at("write the mark", path)
}

/// Says that a thing of an earlier boot was looked at and is whole.
pub(crate) fn settle(path: &Path) -> Result<(), StoreError> {
    fs::write(path, SETTLED).at("write the mark", path)
}

/// Whether a thing with this mark can be used without a look.
pub(crate) fn is_believed(path: &Path, boot: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text == SETTLED || text == format!("boot {boot}\n"))
}

/// Whether a thing with this mark was made in this boot and not looked at since.
pub(crate) fn is_of_boot(path: &Path, boot: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text == format!("boot {boot}\n"))
}

/// Says that a thing was used now. A mark that cannot be touched makes it look older than it is.
pub(crate) fn touch(path: &Path) {
    set_time(path, SystemTime::now());
}

/// Says when a thing was last used.
pub(crate) fn set_time(path: &Path, time: SystemTime) {
    let _ = File::options()
        .write(true)
        .open(path)
        .and_then(|file| file.set_modified(time));
}

/// When a thing was last used, in seconds since 1970; the beginning of time without a mark.
pub(crate) fn last_used(path: &Path) -> i64 {
    let time = fs::metadata(path).and_then(|metadata| metadata.modified());
    time.ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .unwrap_or(0)
}
