//! Pins: what somebody asked to keep. A promise to a person, so it is flushed to the disk.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use launchway_model::ContentHasher;
use serde::{Deserialize, Serialize};

use super::inventory::listed;
use super::item::{Item, ItemId};
use crate::EngineError;

/// One pin: what was typed, and the things it keeps. What these need is kept with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    pub what: String,
    pub items: Vec<ItemId>,
}

#[derive(Serialize, Deserialize)]
struct PinFile {
    what: String,
    items: Vec<String>,
}

/// Why something cannot be pinned.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    #[error("nothing here is called {0}")]
    Unknown(String),
    #[error("{what} can mean {count} things")]
    Ambiguous { what: String, count: usize },
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// How many hexadecimal digits tell a thing.
const SHORTEST: usize = 8;

/// The things that a text names: an image by its name, or anything by its digest or key, or by the
/// beginning of it. A digest can be that of a layer and of a blob.
fn named(items: &[Item], what: &str) -> Result<Vec<ItemId>, PinError> {
    let exact: Vec<ItemId> = items
        .iter()
        .filter(|item| item.id.as_str() == what || item.id.name() == what)
        .map(|item| item.id.clone())
        .collect();
    if !exact.is_empty() {
        return Ok(exact);
    }
    let digits = what.rsplit(':').next().unwrap_or(what);
    if digits.len() < SHORTEST || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(PinError::Unknown(what.to_owned()));
    }
    let hex = |item: &Item| {
        let name = item.id.name();
        let digits = name.rsplit(':').next().unwrap_or(name).to_owned();
        item.id.split().0 != "image" && digits.starts_with(what.rsplit(':').next().unwrap_or(what))
    };
    let found: Vec<ItemId> = items
        .iter()
        .filter(|item| hex(item))
        .map(|item| item.id.clone())
        .collect();
    let mut names: Vec<&str> = found.iter().map(ItemId::name).collect();
    names.sort_unstable();
    names.dedup();
    match names.len() {
        0 => Err(PinError::Unknown(what.to_owned())),
        1 => Ok(found),
        count => Err(PinError::Ambiguous {
            what: what.to_owned(),
            count,
        }),
    }
}

fn folder(state: &Path) -> PathBuf {
    state.join("pins")
}

fn path_of(state: &Path, what: &str) -> PathBuf {
    let mut name = ContentHasher::new("launchway/pin/1");
    name.text("what", what);
    folder(state).join(name.finish().to_string())
}

/// Keeps what a text names, until it is unpinned.
pub fn pin(state: &Path, items: &[Item], what: &str) -> Result<Pin, PinError> {
    let pin = Pin {
        what: what.to_owned(),
        items: named(items, what)?,
    };
    let file = PinFile {
        what: pin.what.clone(),
        items: pin.items.iter().map(ItemId::to_string).collect(),
    };
    write(&path_of(state, what), &file).map_err(EngineError::io("write the pin"))?;
    Ok(pin)
}

fn write(path: &Path, file: &PinFile) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    let text = serde_json::to_vec(file).map_err(io::Error::from)?;
    temporary.write_all(&text)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

/// Takes a pin back. False when there was none.
pub fn unpin(state: &Path, what: &str) -> Result<bool, EngineError> {
    let exact = path_of(state, what);
    let path = if exact.exists() {
        Some(exact)
    } else {
        // By what it keeps, too: a digest that was pinned by its beginning, or by a name.
        let found = pins(state)?.into_iter().find(|pin| {
            let digits = what.rsplit(':').next().unwrap_or(what);
            digits.len() >= SHORTEST
                && pin.items.iter().any(|id| {
                    let hex = id.name().rsplit(':').next().unwrap_or_default();
                    id.name() == what || hex.starts_with(digits)
                })
        });
        found.map(|pin| path_of(state, &pin.what))
    };
    let Some(path) = path else {
        return Ok(false);
    };
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(EngineError::io("remove the pin")(error)),
    }
}

/// All pins, by what was typed.
pub fn pins(state: &Path) -> Result<Vec<Pin>, EngineError> {
    let mut found = Vec::new();
    for (name, path) in listed(&folder(state))? {
        if name.starts_with('.') {
            continue;
        }
        // One that cannot be read must not be taken for none: what it keeps would go.
        let failed = || EngineError::io(format!("read the pin {}", path.display()));
        let bytes = fs::read(&path).map_err(failed())?;
        let file: PinFile =
            serde_json::from_slice(&bytes).map_err(|error| failed()(io::Error::from(error)))?;
        found.push(Pin {
            what: file.what,
            items: file.items.into_iter().map(ItemId::new).collect(),
        });
    }
    found.sort_by(|one, other| one.what.cmp(&other.what));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::item::Kind;
    use super::*;

    fn item(id: &str) -> Item {
        Item {
            id: ItemId::new(id),
            kind: Kind::Images,
            size: 1,
            used: 1,
            about: String::new(),
            needs: Vec::new(),
            follows: false,
            is_dead: false,
            is_pinned: false,
            is_held: false,
        }
    }

    #[test]
    fn things_are_named_by_name_digest_or_its_beginning() {
        let items: Vec<Item> = [
            "image docker.io/library/debian:12",
            "blob sha256:0123456789abcdef",
            "layer sha256:0123456789abcdef",
            "layer sha256:0123456789ffffff",
            "step fedcba9876543210",
        ]
        .iter()
        .map(|id| item(id))
        .collect();
        for (what, want) in [
            (
                "docker.io/library/debian:12",
                "image docker.io/library/debian:12",
            ),
            ("sha256:0123456789ffffff", "layer sha256:0123456789ffffff"),
            ("0123456789fff", "layer sha256:0123456789ffffff"),
            (
                "sha256:0123456789a",
                "blob sha256:0123456789abcdef layer sha256:0123456789abcdef",
            ),
            ("fedcba98", "step fedcba9876543210"),
            (
                "layer sha256:0123456789abcdef",
                "layer sha256:0123456789abcdef",
            ),
        ] {
            let found: Vec<String> = named(&items, what)
                .unwrap()
                .iter()
                .map(ItemId::to_string)
                .collect();
            assert_eq!(found.join(" "), want, "{what}");
        }
        for what in ["", "01234", "debian:12", "aaaaaaaa", "sha256:"] {
            assert!(
                matches!(named(&items, what), Err(PinError::Unknown(_))),
                "{what}"
            );
        }
        assert!(matches!(
            named(&items, "0123456789"),
            Err(PinError::Ambiguous { count: 2, .. })
        ));
    }

    #[test]
    fn pins_are_kept_and_taken_back() {
        let state = tempfile::tempdir().unwrap();
        let items = [item("layer sha256:0123456789abcdef")];
        assert_eq!(pins(state.path()).unwrap(), []);
        assert!(!unpin(state.path(), "0123456789ab").unwrap());
        let made = pin(state.path(), &items, "0123456789ab").unwrap();
        assert_eq!(pins(state.path()).unwrap(), std::slice::from_ref(&made));
        assert_eq!(pin(state.path(), &items, "0123456789ab").unwrap(), made);
        assert!(unpin(state.path(), "sha256:0123456789abcdef").unwrap());
        assert_eq!(pins(state.path()).unwrap(), []);
        // What cannot be read is an error, not no pin.
        pin(state.path(), &items, "0123456789ab").unwrap();
        fs::write(path_of(state.path(), "0123456789ab"), "{").unwrap();
        assert!(pins(state.path()).is_err());
    }
}
