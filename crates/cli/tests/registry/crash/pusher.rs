//! A client that does a bit of everything, by dice, until the registry is gone.

use std::io;

use launchway_testkit::sha256;

use super::world::{Key, Value, World};
use crate::wire::{Answer, Connection};

pub(super) const REPOSITORIES: [&str; 2] = ["app", "team/tool"];
/// The tag that all pushers move.
pub(super) const CONTENDED: &str = "latest";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const BYTES: &str = "application/octet-stream";
/// Tags a pusher has for itself, in each repository; few, so that they move.
const TAGS: u64 = 5;

/// Numbers that look random (Steele, Lea, Flood: SplitMix64).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn bytes(&mut self, length: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < length {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes
    }
}

/// The shared layers: the same bytes whoever pushes them.
const SHARED: u64 = 6;

pub(super) struct Pusher {
    number: u64,
    dice: Dice,
    world: World,
    /// Manifests that may be deleted: nobody else has tags on them.
    manifests: Vec<(&'static str, String)>,
    /// Blobs that no manifest needs.
    loose: Vec<(&'static str, String)>,
    /// What this round has left behind.
    round: Round,
    count: u64,
}

#[derive(Default)]
pub(super) struct Round {
    /// How many changes were acknowledged.
    pub(super) acknowledged: u64,
    /// Where uploads stood that nobody will finish.
    pub(super) halves: Vec<String>,
    /// To what this one moved the contended tag last.
    pub(super) moved: Vec<(&'static str, String)>,
    /// To what it was moving it.
    pub(super) moving: Option<(&'static str, String)>,
}

impl Pusher {
    pub(super) fn new(number: u64, seed: u64) -> Self {
        Self {
            number,
            dice: Dice::new(seed),
            world: World::default(),
            manifests: Vec::new(),
            loose: Vec::new(),
            round: Round::default(),
            count: 0,
        }
    }

    pub(super) fn work_until_it_dies(&mut self, host: &str) {
        let Ok(mut connection) = Connection::open(host) else {
            return;
        };
        while self.act(&mut connection).is_ok() {}
    }

    pub(super) fn settle(&mut self, all: bool, observe: impl FnMut(&Key) -> Value) -> Round {
        self.world.settle(all, observe);
        let world = &self.world;
        let there = |key: &Key| world.get(key).is_some();
        self.manifests
            .retain(|(repository, digest)| there(&Key::manifest(repository, digest)));
        self.loose
            .retain(|(repository, digest)| there(&Key::blob(repository, digest)));
        std::mem::take(&mut self.round)
    }

    fn act(&mut self, connection: &mut Connection) -> io::Result<()> {
        self.count += 1;
        let repository = REPOSITORIES[usize::from(self.dice.below(2) == 1)];
        match self.dice.below(16) {
            0..=4 => self.image(connection, repository),
            5 => self.image_with_several_tags(connection, repository),
            6 => self.move_the_contended_tag(connection, repository),
            7 => self.loose_blob(connection, repository),
            8 => self.blob_in_chunks(connection, repository),
            9 | 10 => self.half_an_upload(connection, repository),
            11 => self.mount(connection, repository),
            12 | 13 => self.delete_tag(connection, repository),
            14 => self.delete_manifest(connection),
            _ => self.delete_blob(connection),
        }
    }

    fn image(&mut self, connection: &mut Connection, repository: &'static str) -> io::Result<()> {
        let (digest, text) = self.parts_of_an_image(connection, repository)?;
        let tag = self.tag();
        let target = format!("/v2/{repository}/manifests/{tag}");
        let changes = vec![
            (Key::manifest(repository, &digest), Some(digest.clone())),
            (Key::tag(repository, &tag), Some(digest.clone())),
        ];
        self.change(changes, 201, || {
            connection.ask("PUT", &target, MANIFEST, text.as_bytes())
        })?;
        self.manifests.push((repository, digest));
        Ok(())
    }

    fn image_with_several_tags(
        &mut self,
        connection: &mut Connection,
        repository: &'static str,
    ) -> io::Result<()> {
        let (digest, text) = self.parts_of_an_image(connection, repository)?;
        let tags = [self.tag(), self.tag()];
        let target = format!(
            "/v2/{repository}/manifests/{digest}?tag={}&tag={}",
            tags[0], tags[1]
        );
        let tags = tags
            .iter()
            .map(|tag| (Key::tag(repository, tag), Some(digest.clone())));
        let manifest = (Key::manifest(repository, &digest), Some(digest.clone()));
        let changes = tags.chain([manifest]).collect();
        self.change(changes, 201, || {
            connection.ask("PUT", &target, MANIFEST, text.as_bytes())
        })?;
        self.manifests.push((repository, digest));
        Ok(())
    }

    fn move_the_contended_tag(
        &mut self,
        connection: &mut Connection,
        repository: &'static str,
    ) -> io::Result<()> {
        let (digest, text) = self.parts_of_an_image(connection, repository)?;
        let target = format!("/v2/{repository}/manifests/{CONTENDED}");
        let changes = vec![(Key::manifest(repository, &digest), Some(digest.clone()))];
        self.round.moving = Some((repository, digest.clone()));
        self.change(changes, 201, || {
            connection.ask("PUT", &target, MANIFEST, text.as_bytes())
        })?;
        self.round.moving = None;
        self.round.moved.retain(|(moved, _)| *moved != repository);
        self.round.moved.push((repository, digest));
        Ok(())
    }

    /// Pushes a configuration, a layer of its own and one that others push as well.
    fn parts_of_an_image(
        &mut self,
        connection: &mut Connection,
        repository: &'static str,
    ) -> io::Result<(String, String)> {
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","author":"{}/{}"}}"#,
            self.number, self.count
        );
        let own = self.content();
        let shared = shared(self.dice.below(SHARED));
        let mut entries = Vec::new();
        for bytes in [config.into_bytes(), own, shared] {
            let digest = sha256(&bytes);
            let is_there = self.world.get(&Key::blob(repository, &digest)).is_some();
            // Sometimes it is sent although it is there.
            if !is_there || self.dice.below(2) == 0 {
                self.push(connection, repository, &digest, &bytes)?;
            }
            entries.push(format!(
                r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{digest}","size":{}}}"#,
                bytes.len()
            ));
        }
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{},"layers":[{},{}]}}"#,
            entries[0], entries[1], entries[2]
        );
        Ok((sha256(text.as_bytes()), text))
    }

    fn loose_blob(
        &mut self,
        connection: &mut Connection,
        repository: &'static str,
    ) -> io::Result<()> {
        let bytes = self.content();
        let digest = sha256(&bytes);
        self.push(connection, repository, &digest, &bytes)?;
        self.loose.push((repository, digest));
        Ok(())
    }

    fn push(
        &mut self,
        connection: &mut Connection,
        repository: &'static str,
        digest: &str,
        bytes: &[u8],
    ) -> io::Result<()> {
        let target = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let changes = vec![(Key::blob(repository, digest), Some(digest.to_owned()))];
        self.change(changes, 201, || {
            connection.ask("POST", &target, BYTES, bytes)
        })
    }

    fn blob_in_chunks(
        &mut self,
        connection: &mut Connection,
        repository: &'static str,
    ) -> io::Result<()> {
        let bytes = self.content();
        let digest = sha256(&bytes);
        let (first, second) = bytes.split_at(bytes.len() / 2);
        let location = self.begin_upload(connection, repository, first)?;
        let joint = if location.contains('?') { '&' } else { '?' };
        let target = format!("{location}{joint}digest={digest}");
        let changes = vec![(Key::blob(repository, &digest), Some(digest.clone()))];
        self.change(changes, 201, || {
            connection.ask("PUT", &target, BYTES, second)
        })?;
        self.loose.push((repository, digest));
        Ok(())
    }

    fn half_an_upload(
        &mut self,
        connection: &mut Connection,
        repository: &'static str,
    ) -> io::Result<()> {
        let bytes = self.content();
        let location = self.begin_upload(connection, repository, &bytes)?;
        self.round.halves.push(location);
        Ok(())
    }

    fn begin_upload(
        &mut self,
        connection: &mut Connection,
        repository: &'static str,
        first: &[u8],
    ) -> io::Result<String> {
        let target = format!("/v2/{repository}/blobs/uploads/");
        let location = |answer: Answer| {
            assert_eq!(answer.status, 202, "{answer:?}");
            let location = answer.header("location").map(str::to_owned);
            location.expect("an upload has a location")
        };
        let begun = location(connection.ask("POST", &target, "", &[])?);
        Ok(location(connection.ask("PATCH", &begun, BYTES, first)?))
    }

    fn mount(&mut self, connection: &mut Connection, repository: &'static str) -> io::Result<()> {
        let bytes = shared(self.dice.below(SHARED));
        let digest = sha256(&bytes);
        let other = REPOSITORIES[usize::from(repository == REPOSITORIES[0])];
        if self.world.get(&Key::blob(other, &digest)).is_none() {
            self.push(connection, other, &digest, &bytes)?;
        }
        let target = format!("/v2/{repository}/blobs/uploads/?mount={digest}&from={other}");
        let changes = vec![(Key::blob(repository, &digest), Some(digest.clone()))];
        self.change(changes, 201, || connection.ask("POST", &target, "", &[]))
    }

    fn delete_tag(
        &mut self,
        connection: &mut Connection,
        repository: &'static str,
    ) -> io::Result<()> {
        let key = Key::tag(repository, &self.tag());
        if self.world.get(&key).is_none() {
            return Ok(());
        }
        let target = key.target();
        self.change(vec![(key, None)], 202, || {
            connection.ask("DELETE", &target, "", &[])
        })
    }

    fn delete_manifest(&mut self, connection: &mut Connection) -> io::Result<()> {
        let Some((repository, digest)) = pick(&mut self.dice, &mut self.manifests) else {
            return Ok(());
        };
        let key = Key::manifest(repository, &digest);
        if self.world.get(&key).is_none() {
            return Ok(());
        }
        let target = key.target();
        // Its tags go with it.
        let tags = (0..TAGS).map(|tag| Key::tag(repository, &tag_of(self.number, tag)));
        let gone = tags.filter(|tag| self.world.get(tag).as_ref() == Some(&digest));
        let changes = gone.chain([key]).map(|key| (key, None)).collect();
        self.change(changes, 202, || connection.ask("DELETE", &target, "", &[]))
    }

    fn delete_blob(&mut self, connection: &mut Connection) -> io::Result<()> {
        let Some((repository, digest)) = pick(&mut self.dice, &mut self.loose) else {
            return Ok(());
        };
        let key = Key::blob(repository, &digest);
        let target = key.target();
        self.change(vec![(key, None)], 202, || {
            connection.ask("DELETE", &target, "", &[])
        })
    }

    /// Sends a request that changes something. Where no answer comes, the changes stay under way.
    fn change(
        &mut self,
        changes: Vec<(Key, Value)>,
        status: u16,
        send: impl FnOnce() -> io::Result<Answer>,
    ) -> io::Result<()> {
        self.world.begin(changes);
        let answer = send()?;
        assert_eq!(
            answer.status,
            status,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        self.world.acknowledge();
        self.round.acknowledged += 1;
        Ok(())
    }

    fn tag(&mut self) -> String {
        tag_of(self.number, self.dice.below(TAGS))
    }

    /// Bytes that nobody else has.
    fn content(&mut self) -> Vec<u8> {
        let length = match self.dice.below(4) {
            0 => self.dice.below(400_000),
            _ => self.dice.below(20_000),
        };
        let mut bytes = format!("{} {} ", self.number, self.count).into_bytes();
        bytes.extend(self.dice.bytes(length));
        bytes
    }
}

fn tag_of(pusher: u64, tag: u64) -> String {
    format!("p{pusher}-{tag}")
}

fn shared(number: u64) -> Vec<u8> {
    Dice::new(number).bytes(100_000)
}

fn pick(dice: &mut Dice, list: &mut Vec<(&'static str, String)>) -> Option<(&'static str, String)> {
    let length = list.len() as u64;
    let place = (length > 0).then(|| dice.below(length))?;
    Some(list.swap_remove(usize::try_from(place).ok()?))
}
