//! Files of the web for ADD: what was fetched is kept, and asked for again only to learn whether it
//! has changed.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use launchway_model::{ContentHasher, Digest};
use launchway_oci::{Hasher, Store, StoreError, TempPath, Turn};
use serde::{Deserialize, Serialize};

use crate::cache::touch;
use crate::collect::download_name;

/// What a server said of a file, by which it can be asked whether that has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    pub etag: Option<String>,
    pub last_modified: Option<String>,
}

/// What asking for a file gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// It is what the validators are of; nothing was written.
    Unchanged,
    New {
        validators: Validators,
        /// When it was changed, in seconds since 1970.
        modified: Option<i64>,
    },
}

/// Where files of the web come from. The engine itself knows no HTTP.
pub trait Web: Sync {
    /// Writes what is behind a URL, unless it is still what the validators are of.
    fn fetch(
        &self,
        url: &str,
        known: &Validators,
        to: &mut fs::File,
    ) -> Result<Fetched, Box<dyn std::error::Error + Send + Sync>>;
}

/// A file that was fetched: mode 0600, and the time the server told, or else the beginning of 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Download {
    /// Below [`Downloads::folder`].
    pub(crate) file: PathBuf,
    pub(crate) digest: Digest,
    pub(crate) modified: i64,
}

/// Why a file could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DownloadError {
    #[error(transparent)]
    Fetch(Box<dyn std::error::Error + Send + Sync>),
    #[error("its content is {found}, not {wanted}")]
    Checksum { wanted: Digest, found: Digest },
    #[error("keep the file")]
    Keep(#[from] io::Error),
    #[error("keep the file")]
    Store(#[from] StoreError),
}

/// The files that were fetched, by URL and content.
pub(crate) struct Downloads {
    folder: PathBuf,
    store: Store,
}

/// What is remembered of a URL.
#[derive(Serialize, Deserialize)]
struct Record {
    digest: String,
    modified: i64,
    etag: Option<String>,
    last_modified: Option<String>,
    /// Where it came from, for people.
    url: Option<String>,
    /// The boot of the machine in which it was fetched, or [`SETTLED`] when it was looked at in a
    /// later one. In the boot in which it was fetched, and once it is settled, the file is believed.
    boot: Option<String>,
}

const SETTLED: &str = "settled";

/// What a record says of where its file came from.
pub(crate) fn url_of(path: &Path) -> Option<String> {
    let record: Record = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    record.url
}

impl Downloads {
    pub(crate) fn open(state: &Path, store: Store) -> io::Result<Self> {
        let folder = state.join("downloads");
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, store })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The turn of fetching what is behind a URL, unless another step or build has it.
    pub(crate) fn try_turn(&self, url: &str) -> Result<Option<Turn>, StoreError> {
        self.store.try_turn(&format!("download-{}", name_of(url)))
    }

    /// The file behind a URL. With a checksum nothing is asked once it is here.
    pub(crate) fn get(
        &self,
        web: &dyn Web,
        url: &str,
        checksum: Option<&Digest>,
    ) -> Result<Download, DownloadError> {
        let name = name_of(url);
        self.store.hold(&download_name(&name))?;
        let known = self
            .known(&name)
            .filter(|(_, download)| checksum.is_none_or(|wanted| *wanted == download.digest));
        if let (Some((_, download)), Some(_)) = (&known, checksum) {
            return Ok(download.clone());
        }
        let validators = known
            .as_ref()
            .map(|(validators, _)| validators.clone())
            .unwrap_or_default();
        // Among the store's temporary files, where what a killed process leaves is found and removed.
        let temporary = self.store.temp_path();
        let mut file = fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        let fetched = web
            .fetch(url, &validators, &mut file)
            .map_err(DownloadError::Fetch)?;
        drop(file);
        match (fetched, known) {
            (
                Fetched::New {
                    validators,
                    modified,
                },
                _,
            ) => self.keep(&temporary, url, checksum, validators, modified),
            (Fetched::Unchanged, Some((_, download))) => Ok(download),
            (Fetched::Unchanged, None) => Err(DownloadError::Fetch(
                "the server says that nothing changed, but was not asked that".into(),
            )),
        }
    }

    fn known(&self, name: &str) -> Option<(Validators, Download)> {
        let text = fs::read(self.folder.join(format!("{name}.json"))).ok()?;
        let mut record: Record = serde_json::from_slice(&text).ok()?;
        let digest: Digest = record.digest.parse().ok()?;
        let file = file_of(name, &digest);
        let path = self.folder.join(&file);
        let boot = record.boot.as_deref();
        if boot == Some(SETTLED) || boot == Some(self.store.boot()) {
            if !path.is_file() {
                return None;
            }
            touch(&self.folder.join(format!("{name}.json")));
        } else {
            // What a loss of power has left of it is fetched again.
            if digest_of(fs::File::open(&path).ok()?).ok()? != digest {
                return None;
            }
            record.boot = Some(SETTLED.to_owned());
            write_record(&self.store, &self.folder, name, &record).ok()?;
        }
        let validators = Validators {
            etag: record.etag,
            last_modified: record.last_modified,
        };
        Some((
            validators,
            Download {
                file,
                digest,
                modified: record.modified,
            },
        ))
    }

    fn keep(
        &self,
        temporary: &TempPath,
        url: &str,
        checksum: Option<&Digest>,
        validators: Validators,
        modified: Option<i64>,
    ) -> Result<Download, DownloadError> {
        let digest = digest_of(fs::File::open(temporary)?)?;
        if let Some(wanted) = checksum.filter(|wanted| **wanted != digest) {
            return Err(DownloadError::Checksum {
                wanted: wanted.clone(),
                found: digest,
            });
        }
        let modified = modified.unwrap_or(0);
        let since = Duration::from_secs(u64::try_from(modified).unwrap_or(0));
        let file = fs::File::options().write(true).open(temporary)?;
        file.set_modified(UNIX_EPOCH + since)?;
        let name = name_of(url);
        let file = file_of(&name, &digest);
        fs::rename(temporary, self.folder.join(&file))?;
        let record = Record {
            digest: digest.to_string(),
            modified,
            etag: validators.etag,
            last_modified: validators.last_modified,
            url: Some(shown(url)),
            boot: Some(self.store.boot().to_owned()),
        };
        write_record(&self.store, &self.folder, &name, &record)?;
        Ok(Download {
            file,
            digest,
            modified,
        })
    }
}

fn write_record(
    store: &Store,
    folder: &Path,
    name: &str,
    record: &Record,
) -> Result<(), DownloadError> {
    let text = serde_json::to_vec(record).map_err(io::Error::from)?;
    Ok(store.put_file(&folder.join(format!("{name}.json")), &text)?)
}

/// Hashes a kept file again, and says whether it is what was fetched. One that is need not be looked at
/// after the next start of the machine. `name` is the hash of its URL.
pub(crate) fn is_whole(store: &Store, folder: &Path, name: &str) -> Result<bool, DownloadError> {
    let read = match fs::read(folder.join(format!("{name}.json"))) {
        // What has no record is used by nobody.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        read => read?,
    };
    let Ok(mut record) = serde_json::from_slice::<Record>(&read) else {
        return Ok(false);
    };
    let Ok(digest) = record.digest.parse::<Digest>() else {
        return Ok(false);
    };
    match fs::File::open(folder.join(file_of(name, &digest))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => {
            if digest_of(file?)? != digest {
                return Ok(false);
            }
        }
    }
    record.boot = Some(SETTLED.to_owned());
    write_record(store, folder, name, &record)?;
    Ok(true)
}

fn name_of(url: &str) -> String {
    let mut name = ContentHasher::new("launchway/url/1");
    name.text("url", url);
    name.finish().to_string()
}

fn digest_of(mut file: fs::File) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            length => hasher.update(&buffer[..length]),
        };
    }
}

fn file_of(name: &str, digest: &Digest) -> PathBuf {
    PathBuf::from(format!("{name}-{}", digest.hex()))
}

/// The name that a file takes in a folder: the last name of the URL's path.
pub(crate) fn file_name(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    let name = path.trim_end_matches('/').rsplit('/').next();
    let name = decoded(name.unwrap_or_default());
    // A decoded name may hold a slash of its own.
    let name = name.trim_end_matches('/').rsplit('/').next().unwrap_or("");
    match name {
        "" | "." | ".." => "__unnamed__".to_owned(),
        name => name.to_owned(),
    }
}

/// `%41` is `A`; what is no such pair stays.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let pair = text
            .get(at + 1..at + 3)
            .filter(|pair| bytes[at] == b'%' && pair.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A URL as history tells of it: as it was written, unless that would tell a password.
pub(crate) fn told(url: &str) -> String {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match host.contains('@') {
        true => shown(url),
        false => url.to_owned(),
    }
}

/// A URL as it may be shown: without a user and a password.
pub(crate) fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (host, path) = match rest.find(['/', '?', '#']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Mutex;

    use super::*;

    /// Answers in turn; notes what it was asked with.
    struct Script(Mutex<Vec<&'static str>>, Mutex<Vec<Option<String>>>);

    impl Web for Script {
        fn fetch(
            &self,
            _: &str,
            known: &Validators,
            to: &mut fs::File,
        ) -> Result<Fetched, Box<dyn std::error::Error + Send + Sync>> {
            self.1.lock().unwrap().push(known.etag.clone());
            match self.0.lock().unwrap().pop().unwrap() {
                "same" => Ok(Fetched::Unchanged),
                "fails" => Err("no answer".into()),
                content => {
                    to.write_all(content.as_bytes())?;
                    Ok(Fetched::New {
                        validators: Validators {
                            etag: Some(content.to_owned()),
                            last_modified: None,
                        },
                        modified: Some(1_000),
                    })
                }
            }
        }
    }

    fn downloads() -> (tempfile::TempDir, Downloads) {
        let folder = tempfile::tempdir().unwrap();
        let flavour = launchway_oci::Flavour::User;
        let store = Store::open(&folder.path().join("store"), flavour).unwrap();
        let downloads = Downloads::open(folder.path(), store).unwrap();
        (folder, downloads)
    }

    #[test]
    fn a_file_is_fetched_again_only_when_it_changed() {
        let (_folder, downloads) = downloads();
        let web = Script(
            Mutex::new(vec!["fails", "two", "same", "one"]),
            Mutex::default(),
        );
        let get = |checksum: Option<&Digest>| downloads.get(&web, "http://h/f", checksum);
        let first = get(None).unwrap();
        let path = downloads.folder().join(&first.file);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
        assert_eq!(
            metadata.modified().unwrap(),
            UNIX_EPOCH + Duration::from_secs(1_000)
        );
        assert_eq!(get(None).unwrap(), first);
        // What has its checksum is not asked for.
        assert_eq!(get(Some(&first.digest)).unwrap(), first);
        let second = get(None).unwrap();
        assert_ne!(second.digest, first.digest);
        let one = Some("one".to_owned());
        assert_eq!(*web.1.lock().unwrap(), [None, one.clone(), one]);
        // What is not what was asked for is no reason to ask whether it changed.
        let error = get(Some(&first.digest)).unwrap_err();
        assert_eq!(error.to_string(), "no answer");
        assert_eq!(web.1.lock().unwrap().last(), Some(&None));
    }

    /// After a loss of power a file is what it was, or fetched again.
    #[test]
    fn a_file_of_an_earlier_boot_is_looked_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let web = Script(Mutex::new(vec!["one", "one"]), Mutex::default());
        let open = |boot: &str| {
            let flavour = launchway_oci::Flavour::User;
            let store = Store::open_in_boot(&folder.path().join("store"), flavour, boot).unwrap();
            Downloads::open(folder.path(), store).unwrap()
        };
        let first = open("1").get(&web, "http://h/f", None).unwrap();
        let get = |boot: &str| {
            open(boot)
                .get(&web, "http://h/f", Some(&first.digest))
                .unwrap()
        };
        let path = open("2").folder().join(&first.file);
        fs::write(&path, "").unwrap();
        assert_eq!(get("2"), first);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(web.0.lock().unwrap().len(), 0, "it was fetched again");
        assert_eq!(get("3"), first);
        let name = first.file.display().to_string();
        let name = name.split_once('-').unwrap().0.to_owned();
        let whole = || {
            let again = open("4");
            is_whole(&again.store, again.folder(), &name).unwrap()
        };
        assert!(whole());
        // Settled by now: nobody looks any more who is not told to.
        fs::write(&path, "").unwrap();
        assert_eq!(get("4"), first);
        assert!(!whole());
        fs::remove_file(&path).unwrap();
        assert!(!whole());
    }

    #[test]
    fn a_wrong_checksum_keeps_nothing() {
        let (_folder, downloads) = downloads();
        let web = Script(Mutex::new(vec!["one"]), Mutex::default());
        let wanted: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let error = downloads
            .get(&web, "http://h/f", Some(&wanted))
            .unwrap_err();
        assert!(matches!(error, DownloadError::Checksum { .. }), "{error:?}");
        assert_eq!(fs::read_dir(downloads.folder()).unwrap().count(), 0);
    }

    #[test]
    fn names_and_what_is_shown() {
        for (url, name, want) in [
            (
                "http://h/a/b.tar.gz?x=1#y",
                "b.tar.gz",
                "http://h/a/b.tar.gz",
            ),
            ("https://u:p@h", "__unnamed__", "https://h"),
            ("https://u:p@h/", "__unnamed__", "https://h/"),
            ("http://h/a%20b/", "a b", "http://h/a%20b/"),
            ("http://h/a%2Fb", "b", "http://h/a%2Fb"),
            ("http://h/%zz", "%zz", "http://h/%zz"),
            ("http://h/%+f", "%+f", "http://h/%+f"),
            ("http://h/..", "__unnamed__", "http://h/.."),
            ("http://h?token=t", "__unnamed__", "http://h"),
        ] {
            assert_eq!(file_name(url), name, "{url}");
            assert_eq!(shown(url), want, "{url}");
            let secret = url.contains('@');
            assert_eq!(told(url), if secret { want } else { url });
        }
    }
}
