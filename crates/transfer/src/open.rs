//! From the name of a place to the place.

use std::sync::Arc;

use launchway_model::Reference;
use launchway_registry::Client;

use crate::archive::{Archive, Kind};
use crate::archive_write::{NewArchive, check};
use crate::copy::Destination;
use crate::layout::Layout;
use crate::place::{Name, Place};
use crate::registry::RegistryPlace;
use crate::{LocalName, Location, TransferError};

/// Opens places; all registries share one client.
#[derive(Clone, Debug)]
pub struct Places {
    client: Client,
}

/// A place, and what was named in it.
#[derive(Clone, Debug)]
pub struct Opened {
    pub place: Arc<dyn Place>,
    pub name: Name,
}

impl Places {
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// A place to read from. Nothing is asked or opened yet.
    #[must_use]
    pub fn source(&self, location: &Location) -> Opened {
        match location {
            Location::Registry(reference) => self.repository(reference),
            Location::Layout { path, name } => opened(Layout::new(path.clone()), name.as_ref()),
            Location::OciArchive { path, name } => {
                opened(Archive::new(path.clone(), Kind::Oci), name.as_ref())
            }
            Location::DockerArchive { path, name } => {
                opened(Archive::new(path.clone(), Kind::Docker), name.as_ref())
            }
        }
    }

    fn repository(&self, reference: &Reference) -> Opened {
        let place = RegistryPlace::new(self.client.clone(), reference.repository.clone());
        Opened {
            place: Arc::new(place),
            name: match (&reference.digest, &reference.tag) {
                (Some(digest), _) => Name::Digest(digest.clone()),
                (None, Some(tag)) => Name::Tag(tag.to_string()),
                (None, None) => Name::Tag("latest".to_owned()),
            },
        }
    }

    /// A place to write to.
    ///
    /// # Errors
    /// When it can be seen at once that nothing can be written there.
    pub fn destination(&self, location: &Location) -> Result<Destination, TransferError> {
        Ok(match location {
            Location::Registry(reference) => {
                let place = RegistryPlace::new(self.client.clone(), reference.repository.clone());
                let tag = reference.tag.as_ref().map(ToString::to_string);
                Destination {
                    place: Arc::new(place),
                    tag: match &reference.digest {
                        Some(_) => tag,
                        None => Some(tag.unwrap_or_else(|| "latest".to_owned())),
                    },
                    digest: reference.digest.clone(),
                }
            }
            Location::Layout { path, name } => {
                destination(Layout::new(path.clone()), name.as_ref())
            }
            Location::OciArchive { path, name } => {
                check(path)?;
                destination(NewArchive::new(path.clone(), Kind::Oci), name.as_ref())
            }
            Location::DockerArchive { path, name } => {
                check(path)?;
                destination(NewArchive::new(path.clone(), Kind::Docker), name.as_ref())
            }
        })
    }
}

fn opened(place: impl Place + 'static, name: Option<&LocalName>) -> Opened {
    Opened {
        place: Arc::new(place),
        name: match name {
            Some(LocalName::Tag(tag)) => Name::Tag(tag.clone()),
            Some(LocalName::Digest(digest)) => Name::Digest(digest.clone()),
            None => Name::Only,
        },
    }
}

fn destination(place: impl Place + 'static, name: Option<&LocalName>) -> Destination {
    let (tag, digest) = match name {
        Some(LocalName::Tag(tag)) => (Some(tag.clone()), None),
        Some(LocalName::Digest(digest)) => (None, Some(digest.clone())),
        None => (None, None),
    };
    Destination {
        place: Arc::new(place),
        tag,
        digest,
    }
}
