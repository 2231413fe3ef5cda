//! The native engine: from a Dockerfile and a context to an image, without a daemon.
//!
//! It follows BuildKit's semantics and is checked against BuildKit itself. Each step gives a layer,
//! which is kept under the hash of the step's inputs. The engine knows nothing of registries: images
//! from outside come through [`Images`], files of the web through [`Web`], and what is built is left in
//! the store.

mod agents;
mod archive;
mod cache;
mod cache_mount;
mod cancel;
mod claim;
pub mod codes;
pub mod collect;
mod configure;
mod container;
mod copy;
mod copy_options;
mod created;
mod error;
mod event;
mod files;
mod history;
mod host_ca;
mod image;
mod implied;
mod limits;
mod mounts;
mod named;
mod native;
mod over;
mod permissions;
mod place;
mod problems;
mod redact;
mod remote;
mod repository;
mod run;
mod scope;
mod stacked;
mod stages;
mod triggers;
mod upper;
mod users;
mod web;

pub use archive::unpack_archive;
pub use cancel::Cancellation;
pub use container::{CommandOutcome, ContainerRun};
pub use error::EngineError;
pub use event::{Event, Step};
pub use host_ca::HostCa;
pub use image::{Image, Images};
pub use named::{NamedSource, NamedSources};
pub use native::{BuildOptions, BuildRequest, NativeEngine, Secrets};
pub use repository::{CheckedOut, RepositoryError, Rights};
pub use web::{Fetched, Validators, Web};
