//! The description of an image that the lint judges: the layers in the store, listed, and as few of their
//! files read as can be.

use std::io::Read as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use launchway_lint::{CONTENT_LIMIT, Config, Entry, Hit, Image, Kind, Layer};
use launchway_model::Algorithm;
use launchway_oci::spec::ImageConfig;
use launchway_oci::{IndexedKind, ListedPath, Store, StoreError, hash_reader};

/// How much is looked through for secrets at most, in bytes.
const LOOK_LIMIT: u64 = 256 << 20;

/// What is surveyed.
pub struct Survey<'a> {
    pub config: &'a ImageConfig,
    /// Unpacked in the store, the bottom one first.
    pub layers: &'a [launchway_oci::Layer],
    /// What each weighs as it travels, in bytes.
    pub sizes: &'a [u64],
    /// How many layers came with the base; guessed when nobody knows.
    pub inherited: Option<usize>,
    /// Paths where something is mounted at run time.
    pub mounts: &'a [String],
}

/// A described image, and what describing it cost.
pub struct Surveyed {
    pub image: Image,
    /// Bytes that were read of files.
    pub read: u64,
    /// Files that would have been looked through for secrets, were there not so many.
    pub passed_over: usize,
}

type Place = (usize, Vec<u8>);

/// Describes an image. Blocks on the disk.
///
/// # Errors
/// When the disk fails.
pub fn survey(store: &Store, survey: &Survey<'_>) -> Result<Surveyed, StoreError> {
    let history: Vec<(String, bool)> = survey
        .config
        .history
        .iter()
        .map(|one| {
            let text = one.created_by.clone().unwrap_or_default();
            (text, one.empty_layer != Some(true))
        })
        .collect();
    let instructions = launchway_lint::instructions(&history, survey.layers.len());
    let listed = spread(survey.layers, |layer| described(store, layer))?;
    let layers: Vec<Layer> = listed
        .into_iter()
        .zip(instructions)
        .zip(survey.layers)
        .enumerate()
        .map(|(at, ((entries, instruction), layer))| Layer {
            digest: layer.diff_id.to_string(),
            size: survey.sizes.get(at).copied().unwrap_or(0),
            instruction,
            entries,
        })
        .collect();
    let run = &survey.config.config;
    let volumes = run.volumes.iter().flatten().map(|(path, _)| path.clone());
    let mut image = Image {
        inherited: survey
            .inherited
            .unwrap_or_else(|| Image::guess_inherited(&layers)),
        layers,
        config: Config {
            env: run.env.clone().unwrap_or_default(),
            volumes: volumes.collect(),
            entrypoint: run.entrypoint.clone().unwrap_or_default(),
            cmd: run.cmd.clone().unwrap_or_default(),
            labels: run.labels.clone().unwrap_or_default(),
            history: history.into_iter().map(|(text, _)| text).collect(),
        },
        mounts: survey.mounts.to_vec(),
    };
    let mut read = 0;
    let places = launchway_lint::wanted_digests(&image);
    let hashed = spread(&places, |(at, path)| {
        let file = survey.layers[*at].open_file(path)?;
        let (digest, length) = hash_reader(file, Algorithm::Sha256).map_err(failed)?;
        Ok((digest.hex().as_bytes().to_vec(), length))
    })?;
    for ((at, path), (content, length)) in places.iter().zip(hashed) {
        read += length;
        entry(&mut image, *at, path).content = Some(content);
    }
    let mut left = LOOK_LIMIT;
    let mut places: Vec<Place> = launchway_lint::wanted_contents(&image);
    let wanted = places.len();
    places.retain(|(at, path)| {
        let size = image.layers[*at].entries[path].size;
        let fits = size <= left;
        left -= if fits { size } else { 0 };
        fits
    });
    let looked = spread(&places, |(at, path)| {
        let file = survey.layers[*at].open_file(path)?;
        let mut content = Vec::new();
        file.take(CONTENT_LIMIT)
            .read_to_end(&mut content)
            .map_err(failed)?;
        let hits = launchway_lint::look_at(path, &content);
        Ok::<(Vec<Hit>, u64), StoreError>((hits, content.len() as u64))
    })?;
    for ((at, path), (hits, length)) in places.iter().zip(looked) {
        read += length;
        entry(&mut image, *at, path).hits = hits;
    }
    Ok(Surveyed {
        image,
        read,
        passed_over: wanted - places.len(),
    })
}

fn failed(source: std::io::Error) -> StoreError {
    StoreError::Read {
        what: "file of a layer",
        source,
    }
}

fn entry<'a>(image: &'a mut Image, layer: usize, path: &[u8]) -> &'a mut Entry {
    let entries = &mut image.layers[layer].entries;
    entries.get_mut(path).expect("only what is listed is read")
}

/// The entries of a layer. Digests come from the index of its paths, where somebody made one.
fn described(
    store: &Store,
    layer: &launchway_oci::Layer,
) -> Result<std::collections::BTreeMap<Vec<u8>, Entry>, StoreError> {
    let known = store.known_path_index(&layer.diff_id);
    let listed = store.list_layer(layer)?.into_iter();
    let entries = listed.map(|listed| {
        let (path, mut entry) = describe(listed);
        if entry.kind == Kind::File {
            let indexed = known.as_ref().and_then(|index| index.paths.get(&path));
            entry.content = indexed.map(|indexed| indexed.content.clone());
        }
        (path, entry)
    });
    Ok(entries.collect())
}

fn describe(listed: ListedPath) -> (Vec<u8>, Entry) {
    let kind = match listed.kind {
        IndexedKind::File => Kind::File,
        IndexedKind::Dir => Kind::Dir,
        IndexedKind::Symlink => Kind::Symlink,
        IndexedKind::Whiteout => Kind::Whiteout,
        IndexedKind::Fifo | IndexedKind::CharDevice | IndexedKind::BlockDevice => Kind::Special,
    };
    let mut entry = Entry::new(kind);
    entry.mode = listed.mode;
    entry.uid = listed.uid;
    entry.gid = listed.gid;
    entry.size = listed.size;
    entry.target = listed.target;
    entry.opaque = listed.opaque;
    entry.inode = listed.inode;
    (listed.path, entry)
}

/// Does the same for every item, on all cores; the results keep the items' order.
fn spread<I: Sync, T: Send>(
    items: &[I],
    work: impl Fn(&I) -> Result<T, StoreError> + Sync,
) -> Result<Vec<T>, StoreError> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        let run = || -> Result<(), StoreError> {
            let mut own = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(item) = items.get(at) else { break };
                own.push((at, work(item)?));
            }
            done.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .append(&mut own);
            Ok(())
        };
        let workers: Vec<_> = (0..cores.min(items.len()))
            .map(|_| scope.spawn(run))
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().expect("looking at a file does not panic"))
    })?;
    let mut done = done
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}
