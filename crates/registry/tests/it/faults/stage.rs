//! Runs one operation against one fault, and looks at what came of it.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt as _;
use launchway_registry::{Client, ClientEvent, ClientOptions, RegistryError, RetryPolicy};
use launchway_testkit::http::{Answer, Handler, Seen, Server};

use crate::faults::model::{Model, PASSWORD, Role, TOKEN, USER};
use crate::faults::operations::{Ended, Operation, Scene};
use crate::faults::rows::{Deed, Fault, Moment, SIGNATURE};
use crate::support::Always;

/// How many requests one operation may make, whatever happens.
const REQUESTS: usize = 100;
/// How many bytes one operation may make a server send: the largest document that is read, for
/// each try, and what lies in the buffers of the network.
const BYTES: u64 = 120 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    Once,
    Ever,
}

type Plan = (Role, &'static Fault, Times);

/// What came of one operation.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) result: Result<Ended, RegistryError>,
    /// The requests the registry got.
    pub(super) roles: Vec<Role>,
    /// What may never be.
    pub(super) complaints: Vec<String>,
}

/// The registry, with its one fault.
struct Faulty {
    model: Arc<Mutex<Model>>,
    host: String,
    elsewhere: String,
    plan: Option<Plan>,
    hits: u32,
}

impl Faulty {
    fn fault(&self, seen: &Seen) -> Option<&'static Fault> {
        let (role, fault, times) = self.plan?;
        let is_first = times == Times::Ever || self.hits == 0;
        let is_known = role == Role::Token || seen.header("authorization").is_some();
        (is_first && is_known && Role::of(seen) == role).then_some(fault)
    }
}

fn share(seen: &Seen, thousandths: usize) -> usize {
    let length = seen.header("content-length");
    let length: usize = length.and_then(|text| text.parse().ok()).unwrap_or(0);
    length * thousandths / 1_000
}

impl Handler for Faulty {
    fn reads(&mut self, seen: &Seen) -> Option<usize> {
        match self.fault(seen)?.deed {
            Deed::CutUpload(part) | Deed::StopUpload(part, _) => Some(share(seen, part)),
            Deed::Instead(_) | Deed::Spoil(_) => None,
        }
    }

    fn answer(&mut self, seen: &Seen, whole: bool) -> Answer {
        let mut model = self.model.lock().unwrap();
        let role = Role::of(seen);
        if role != Role::Token && !model.is_known(seen) {
            return model.challenge();
        }
        let challenge = model.challenge();
        let Some(fault) = self.fault(seen) else {
            return model.answer(seen, whole);
        };
        let before = self.hits;
        self.hits += 1;
        let moment = Moment {
            seen,
            host: &self.host,
            elsewhere: &self.elsewhere,
            challenge,
            before,
        };
        match fault.deed {
            Deed::Instead(answer) => answer(&moment),
            Deed::Spoil(spoil) => spoil(model.answer(seen, whole), &moment),
            Deed::CutUpload(_) => {
                let _ = model.answer(seen, false);
                Answer::reset()
            }
            Deed::StopUpload(_, status) => Answer::status(status),
        }
    }
}

/// The other server: the same content, and no questions asked.
struct Elsewhere(Arc<Mutex<Model>>);

impl Handler for Elsewhere {
    fn answer(&mut self, seen: &Seen, whole: bool) -> Answer {
        self.0.lock().unwrap().answer(seen, whole)
    }
}

pub(super) async fn play(operation: &Operation, plan: Option<Plan>) -> Played {
    let model = Arc::new(Mutex::new((operation.world)()));
    let elsewhere = Server::start_handler(|_| Elsewhere(Arc::clone(&model))).await;
    let server = Server::start_handler(|host| {
        host.clone_into(&mut model.lock().unwrap().host);
        Faulty {
            model: Arc::clone(&model),
            host: host.to_owned(),
            elsewhere: elsewhere.host().to_owned(),
            plan,
            hits: 0,
        }
    })
    .await;
    let (client, told) = client(plan);
    let directory = tempfile::tempdir().unwrap();
    let scene = Scene {
        client,
        host: server.host().to_owned(),
        model,
        directory: directory.path().to_owned(),
    };
    // Nothing is measured by this; it only keeps a client that hangs from hanging the test.
    let run = AssertUnwindSafe((operation.run)(&scene)).catch_unwind();
    let mut complaints = Vec::new();
    let result = match tokio::time::timeout(Duration::from_secs(60), run).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => {
            complaints.push("it panicked".to_owned());
            Ok(Ended::Wrong)
        }
        Err(_) => {
            complaints.push("it does not end".to_owned());
            Ok(Ended::Wrong)
        }
    };
    let debug = format!("{:?}", scene.client);
    drop(scene.client);
    complaints.extend(left_behind(directory.path(), result.is_ok()));
    let seen = server.seen();
    if seen.len() > REQUESTS {
        complaints.push(format!("{} requests", seen.len()));
    }
    let sent = server.sent() + elsewhere.sent();
    if sent > BYTES {
        complaints.push(format!("{sent} bytes were taken"));
    }
    let mut said = vec![debug, format!("{result:?}")];
    if let Err(error) = &result {
        said.push(error.to_string());
    }
    said.extend(
        told.lock()
            .unwrap()
            .iter()
            .map(|event| format!("{event:?}")),
    );
    complaints.extend(leaks(&said, &seen, &elsewhere.seen()));
    Played {
        result,
        roles: seen.iter().map(Role::of).collect(),
        complaints,
    }
}

fn client(plan: Option<Plan>) -> (Client, Arc<Mutex<Vec<ClientEvent>>>) {
    let stalls = plan.is_some_and(|(_, fault, _)| fault.stalls);
    // On a busy machine everything may look like a stall, and then one try is not enough.
    let may_seem_to_stall = stalls
        && plan.is_some_and(|(role, fault, times)| {
            let is_done = role == Role::FinishUpload && matches!(fault.deed, Deed::Spoil(_));
            times == Times::Once || is_done
        });
    let told = Arc::new(Mutex::new(Vec::new()));
    let writer = Arc::clone(&told);
    let options = ClientOptions {
        retry: RetryPolicy {
            attempts: if may_seem_to_stall { 20 } else { 3 },
            pauses: vec![Duration::from_millis(1)],
            throttle_deadline: Duration::from_millis(20),
        },
        credentials: Arc::new(Always::basic(USER, PASSWORD)),
        events: Some(Arc::new(move |event| writer.lock().unwrap().push(event))),
        ..ClientOptions::default()
    };
    // Where nothing stalls, a busy machine shall not look as if something did.
    let patience = Duration::from_millis(if stalls { 400 } else { 30_000 });
    (Client::with_patience(options, patience).unwrap(), told)
}

/// Files that should not be there.
fn left_behind(directory: &Path, done: bool) -> Vec<String> {
    let names = std::fs::read_dir(directory).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| !(done && name == "blob"))
        .map(|name| format!("{name} is left behind"))
        .collect()
}

/// Secrets where they should not be.
fn leaks(said: &[String], here: &[Seen], elsewhere: &[Seen]) -> Vec<String> {
    let pair = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let mut found = Vec::new();
    for text in said {
        for secret in [PASSWORD, TOKEN, SIGNATURE, pair.as_str()] {
            if text.contains(secret) {
                found.push(format!("{secret} in {text}"));
            }
        }
    }
    for seen in elsewhere {
        let all = format!("{seen:?}");
        for secret in [PASSWORD, TOKEN, pair.as_str(), "authorization"] {
            if all.contains(secret) {
                found.push(format!("{secret} was sent elsewhere: {}", seen.line()));
            }
        }
    }
    for seen in here {
        let all = format!("{seen:?}");
        let to_token = Role::of(seen) == Role::Token;
        if !to_token && (all.contains(PASSWORD) || all.contains(&pair)) {
            found.push(format!("the password was sent to {}", seen.line()));
        }
        if to_token && all.contains(TOKEN) {
            found.push(format!("a token was sent to {}", seen.line()));
        }
    }
    found
}
