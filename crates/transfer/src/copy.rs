//! The copy: what is needed goes over, children before parents, the tag last.
//!
//! There is no case for any kind of place here, only for what places say of themselves: what they
//! hold, and which repository they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::{join_all, try_join};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use launchway_model::{Digest, Platform};
use launchway_registry::{BlobBody, PushOutcome};
use tokio::sync::{Mutex, SetOnce};

use crate::look::check_platforms;
use crate::place::{Blob, Holds, Name, Place, Role};
use crate::select::{Choice, digest_of, platforms_of, resolve};
use crate::walk::{BlobNeed, Graph, Question, Walk};
use crate::{Body, Document, TransferError};

/// What is asked of a copy.
#[derive(Clone, Debug)]
pub struct Copy {
    pub source: Arc<dyn Place>,
    pub name: Name,
    /// Empty for all there are.
    pub platforms: Vec<Platform>,
    /// Whether what refers to the image goes along, and what refers to that.
    pub referrers: bool,
    /// How many blobs and documents are under way at once, for each destination.
    pub parallel: usize,
}

/// Where a copy goes.
#[derive(Clone, Debug)]
pub struct Destination {
    pub place: Arc<dyn Place>,
    pub tag: Option<String>,
    /// What the copy's digest has to be.
    pub digest: Option<Digest>,
}

/// Something that was done. Transfers of registries are told by their client besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Blob {
        destination: String,
        digest: Digest,
        size: u64,
        outcome: PushOutcome,
    },
    Manifest {
        destination: String,
        digest: Digest,
    },
}

/// Some blobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub blobs: usize,
    pub bytes: u64,
}

impl Count {
    fn add(&mut self, bytes: u64) {
        self.blobs += 1;
        self.bytes += bytes;
    }
}

/// What a copy did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    pub digest: Digest,
    pub media_type: String,
    /// The platforms of an index; empty where the image does not say without more reading.
    pub platforms: Vec<Platform>,
    /// Whether an index was shortened, so that the digest is not the source's.
    pub shortened: bool,
    /// Whether everything was there before.
    pub up_to_date: bool,
    pub sent: Count,
    pub mounted: Count,
    pub present: Count,
    pub documents: usize,
    /// Layers that registries need not have, left where they are.
    pub foreign: usize,
}

/// What a copy would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    pub copied: Copied,
    /// What would be sent or mounted.
    pub blobs: Vec<(BlobNeed, PushOutcome)>,
}

/// How a copy to one destination ended; one that fails does not hold up the others.
pub type Verdict<T> = Result<T, TransferError>;

type Tell<'a> = &'a (dyn Fn(Event) + Send + Sync);

/// Copies an image to all destinations. Fails as a whole only when the source cannot be read.
pub async fn copy(
    asked: &Copy,
    destinations: &[Destination],
    tell: Tell<'_>,
) -> Result<Vec<Verdict<Copied>>, TransferError> {
    let source = Source::new(asked);
    let works = destinations.iter().map(|destination| async {
        let work = prepare(&source, destination).await?;
        let Some(graph) = &work.graph else {
            return Ok(work.copied());
        };
        let sent = send(asked, destination, &work, graph, tell).await;
        if sent.is_err() {
            destination.place.give_up().await;
        }
        sent
    });
    let (_, verdicts) = try_join(source.read(), async { Ok(join_all(works).await) }).await?;
    Ok(verdicts)
}

/// Says what [`copy()`] would do. Nothing is written.
pub async fn plan(
    asked: &Copy,
    destinations: &[Destination],
) -> Result<Vec<Verdict<Planned>>, TransferError> {
    let source = Source::new(asked);
    let works = destinations.iter().map(|destination| async {
        let work = prepare(&source, destination).await?;
        survey(asked, destination, &work).await
    });
    let (_, verdicts) = try_join(source.read(), async { Ok(join_all(works).await) }).await?;
    Ok(verdicts)
}

/// What all destinations share: the source is read once, whoever is first to need it.
struct Source<'a> {
    asked: &'a Copy,
    /// What was named and what is chosen of it. Whoever waits for it gives up when reading fails.
    root: SetOnce<(Document, Choice)>,
    graphs: Mutex<BTreeMap<Digest, Arc<Graph>>>,
}

impl<'a> Source<'a> {
    fn new(asked: &'a Copy) -> Self {
        Self {
            asked,
            root: SetOnce::new(),
            graphs: Mutex::default(),
        }
    }

    async fn read(&self) -> Result<(), TransferError> {
        let place = &*self.asked.source;
        let raw = place.manifest(&self.asked.name).await?;
        let root = Document::read(raw, &place.shown())?;
        let choice = resolve(&root, &self.asked.platforms, &place.shown())?;
        check_platforms(place, &root, &self.asked.platforms).await?;
        let once = self.root.set((root, choice));
        debug_assert!(once.is_ok(), "the source is read once");
        Ok(())
    }

    /// Everything a choice leads to; destinations that need the same wait for one reading.
    async fn graph(
        &self,
        digest: &Digest,
        root: &Document,
        choice: &Choice,
    ) -> Result<Arc<Graph>, TransferError> {
        let mut graphs = self.graphs.lock().await;
        if let Some(graph) = graphs.get(digest) {
            return Ok(Arc::clone(graph));
        }
        let root = chosen_document(self.asked, root, choice).await?;
        let graph = Arc::new(walk(self.asked, root).await?);
        graphs.insert(digest.clone(), Arc::clone(&graph));
        Ok(graph)
    }
}

/// What one destination needs.
struct Work {
    digest: Digest,
    media_type: String,
    platforms: Vec<Platform>,
    shortened: bool,
    /// Whether the destination has the image itself already.
    has_image: bool,
    /// None when there is nothing to do.
    graph: Option<Arc<Graph>>,
}

impl Work {
    fn copied(&self) -> Copied {
        Copied {
            digest: self.digest.clone(),
            media_type: self.media_type.clone(),
            platforms: self.platforms.clone(),
            shortened: self.shortened,
            up_to_date: self.graph.is_none(),
            sent: Count::default(),
            mounted: Count::default(),
            present: Count::default(),
            documents: 0,
            foreign: 0,
        }
    }

    /// The blobs that have to be looked after.
    fn blobs<'a>(&self, graph: &'a Graph) -> impl Iterator<Item = &'a BlobNeed> {
        let has_image = self.has_image;
        graph
            .blobs
            .iter()
            .filter(move |blob| !(has_image && blob.of_image))
    }
}

/// Asks a destination what it has, while the source is being read, and reads the rest of the source
/// when there is something to do.
async fn prepare(source: &Source<'_>, destination: &Destination) -> Result<Work, TransferError> {
    let asked = source.asked;
    let there = probe(asked, destination).await?;
    let (root, chosen) = source.root.wait().await;
    let (mut work, choice) = begin(asked, destination, root, chosen, there)?;
    if is_same_repository(&*asked.source, &*destination.place) {
        let root = chosen_document(asked, root, &choice).await?;
        work.graph = Some(Arc::new(Graph::of_root(root)));
    } else if !work.has_image || asked.referrers {
        work.graph = Some(source.graph(&work.digest, root, &choice).await?);
    }
    Ok(work)
}

/// What the destination has under the name that will be written.
async fn probe(asked: &Copy, destination: &Destination) -> Result<Option<Digest>, TransferError> {
    // Within one repository everything is there; only the tag may have to be written.
    if is_same_repository(&*asked.source, &*destination.place) {
        return Ok(None);
    }
    let name = match (&destination.tag, &destination.digest) {
        (Some(tag), _) => Name::Tag(tag.clone()),
        (None, Some(digest)) => Name::Digest(digest.clone()),
        (None, None) => return Ok(None),
    };
    destination.place.probe(&name).await
}

fn is_same_repository(one: &dyn Place, other: &dyn Place) -> bool {
    one.repository().is_some() && one.repository() == other.repository()
}

/// What a destination is to get, and whether it has it.
fn begin(
    asked: &Copy,
    destination: &Destination,
    root: &Document,
    chosen: &Choice,
    there: Option<Digest>,
) -> Result<(Work, Choice), TransferError> {
    let mut choice = chosen.clone();
    let takes_one = destination.place.holds() == Holds::OneImage;
    if takes_one && matches!(root.body, Body::Index(_)) && !matches!(choice, Choice::Entry(_)) {
        let platforms = platforms_of(root);
        let wanted = match (&asked.platforms[..], &platforms[..]) {
            ([], [only]) => only.clone(),
            ([], _) => {
                return Err(TransferError::OneImage {
                    place: destination.place.shown(),
                    there: platforms.iter().map(ToString::to_string).collect(),
                });
            }
            (several, _) => {
                return Err(TransferError::OneImage {
                    place: destination.place.shown(),
                    there: several.iter().map(ToString::to_string).collect(),
                });
            }
        };
        choice = resolve(root, &[wanted], &asked.source.shown())?;
    }
    let digest = digest_of(root, &choice).ok_or_else(|| TransferError::Document {
        place: asked.source.shown(),
        digest: root.digest().to_string(),
        reason: "it points to something without a digest".to_owned(),
    })?;
    if let Some(wanted) = &destination.digest
        && *wanted != digest
    {
        return Err(TransferError::OtherDigest {
            place: asked.source.shown(),
            wanted: wanted.clone(),
            found: digest,
        });
    }
    let (platforms, media_type) = match &choice {
        Choice::Entry(entry) => (
            launchway_oci::platform_of(entry).into_iter().collect(),
            entry.media_type.clone(),
        ),
        Choice::Whole => (platforms_of(root), root.raw.media_type.clone()),
        Choice::Fewer(raw) => (asked.platforms.clone(), raw.media_type.clone()),
    };
    let work = Work {
        has_image: there.as_ref() == Some(&digest),
        shortened: matches!(choice, Choice::Fewer(_)),
        digest,
        media_type,
        platforms,
        graph: None,
    };
    Ok((work, choice))
}

async fn chosen_document(
    asked: &Copy,
    root: &Document,
    choice: &Choice,
) -> Result<Document, TransferError> {
    let place = asked.source.shown();
    match choice {
        Choice::Whole => Ok(root.clone()),
        Choice::Fewer(raw) => Document::read(raw.clone(), &place),
        Choice::Entry(_) => {
            let digest = digest_of(root, choice).ok_or_else(|| TransferError::Document {
                place: place.clone(),
                digest: root.digest().to_string(),
                reason: "it points to something without a digest".to_owned(),
            })?;
            let raw = asked.source.manifest(&Name::Digest(digest)).await?;
            Document::read(raw, &place)
        }
    }
}

/// Reads everything the root leads to.
async fn walk(asked: &Copy, root: Document) -> Result<Graph, TransferError> {
    enum Found {
        Manifest(Box<Document>),
        Referrers(Vec<launchway_oci::spec::Descriptor>),
    }
    let place = asked.source.shown();
    let root_digest = root.digest().to_string();
    let mut walk = Walk::from(root, asked.referrers);
    loop {
        let questions = walk.questions().map_err(|error| TransferError::Document {
            place: place.clone(),
            digest: root_digest.clone(),
            reason: error.to_string(),
        })?;
        if questions.is_empty() {
            return Ok(walk.finish());
        }
        let found: Vec<Found> = stream::iter(questions)
            .map(|question| async {
                match question {
                    Question::Manifest(digest) => {
                        let raw = asked.source.manifest(&Name::Digest(digest)).await?;
                        let document = Document::read(raw, &asked.source.shown())?;
                        Ok::<_, TransferError>(Found::Manifest(Box::new(document)))
                    }
                    Question::Referrers(subject) => {
                        let found = asked.source.referrers(&subject).await?;
                        Ok(Found::Referrers(found))
                    }
                }
            })
            .buffered(asked.parallel.max(1))
            .try_collect()
            .await?;
        for found in found {
            match found {
                Found::Manifest(document) => walk.manifest(*document),
                Found::Referrers(found) => walk.referrers(&found),
            }
        }
    }
}

/// Puts everything that one destination lacks.
async fn send(
    asked: &Copy,
    destination: &Destination,
    work: &Work,
    graph: &Graph,
    tell: Tell<'_>,
) -> Result<Copied, TransferError> {
    let place = &*destination.place;
    let mut copied = work.copied();
    copied.foreign = graph.foreign;
    let role = match &destination.tag {
        Some(tag) => Role::Tagged(tag),
        None => Role::Root,
    };
    // The largest first: what is left at the end is then small.
    let mut blobs: Vec<&BlobNeed> = work.blobs(graph).collect();
    blobs.sort_by(|one, other| {
        other
            .size
            .cmp(&one.size)
            .then(one.digest.cmp(&other.digest))
    });
    let outcomes: Vec<(u64, PushOutcome)> = stream::iter(blobs)
        .map(|need| async move {
            let outcome = put_blob(asked, place, need).await?;
            tell(Event::Blob {
                destination: place.shown(),
                digest: need.digest.clone(),
                size: need.size,
                outcome,
            });
            Ok::<_, TransferError>((need.size, outcome))
        })
        .buffer_unordered(asked.parallel.max(1))
        .try_collect()
        .await?;
    for (size, outcome) in outcomes {
        match outcome {
            PushOutcome::AlreadyThere => copied.present.add(size),
            PushOutcome::Mounted => copied.mounted.add(size),
            PushOutcome::Uploaded => copied.sent.add(size),
        }
    }
    for level in &graph.levels {
        let puts = stream::iter(level).map(|document| async move {
            let role = if *document.digest() == graph.root {
                role
            } else {
                Role::Part
            };
            place.put_manifest(document, role).await?;
            tell(Event::Manifest {
                destination: place.shown(),
                digest: document.digest().clone(),
            });
            Ok::<_, TransferError>(())
        });
        let done: Vec<()> = puts
            .buffer_unordered(asked.parallel.max(1))
            .try_collect()
            .await?;
        copied.documents += done.len();
    }
    place.finish().await?;
    Ok(copied)
}

async fn put_blob(
    asked: &Copy,
    place: &dyn Place,
    need: &BlobNeed,
) -> Result<PushOutcome, TransferError> {
    let body: BlobBody = asked.source.blob(&need.digest, need.size)?;
    place
        .put_blob(&Blob {
            digest: need.digest.clone(),
            size: need.size,
            body,
            sibling: asked.source.repository().cloned(),
        })
        .await
}

/// Asks the destination for every blob and writes nothing.
async fn survey(
    asked: &Copy,
    destination: &Destination,
    work: &Work,
) -> Result<Planned, TransferError> {
    let mut copied = work.copied();
    let Some(graph) = &work.graph else {
        return Ok(Planned {
            copied,
            blobs: Vec::new(),
        });
    };
    let place = &*destination.place;
    copied.foreign = graph.foreign;
    copied.documents = graph.levels.iter().map(Vec::len).sum();
    let on_same_host = match (asked.source.repository(), place.repository()) {
        (Some(one), Some(other)) => one.host() == other.host(),
        _ => false,
    };
    let found: Vec<(BlobNeed, PushOutcome)> = stream::iter(work.blobs(graph))
        .map(|need| async move {
            let outcome = if place.has_blob(&need.digest, need.size).await? {
                PushOutcome::AlreadyThere
            } else if on_same_host {
                PushOutcome::Mounted
            } else {
                PushOutcome::Uploaded
            };
            Ok::<_, TransferError>((need.clone(), outcome))
        })
        .buffered(asked.parallel.max(1))
        .try_collect()
        .await?;
    for (need, outcome) in &found {
        match outcome {
            PushOutcome::AlreadyThere => copied.present.add(need.size),
            PushOutcome::Mounted => copied.mounted.add(need.size),
            PushOutcome::Uploaded => copied.sent.add(need.size),
        }
    }
    Ok(Planned {
        copied,
        blobs: found,
    })
}
